"""What every process needs: settings, logs, metrics, the ops port, start and stop. It may import the rest of core. The tiers import it."""
