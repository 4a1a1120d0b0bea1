"""What all tiers share: values, rules, protocols, processes. No framework, and no import of a tier; every tier imports it."""
