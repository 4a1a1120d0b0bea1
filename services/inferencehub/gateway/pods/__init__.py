"""Who is there: finding pods, their connections, their models, and the slots that they offer. Imports core alone; `routing` uses it."""
