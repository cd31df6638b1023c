"""What a user runs: flows, their parameters and reports, and the services that they need."""
