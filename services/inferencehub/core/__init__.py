"""What both tiers share: values, rules and words. No framework, and no import of a tier."""
