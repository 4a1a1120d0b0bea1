"""The doctor: what each process looks at to say what is wrong and how to repair it. The tiers and the command import it."""
