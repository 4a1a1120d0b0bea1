"""What every process needs: settings, logs, metrics, the ops port, start and end. Imports the rest of core; tiers wire it up."""
