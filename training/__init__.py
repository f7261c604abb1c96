"""Networks, losses, data and the stages of Algorithm 1. Knows no deployment."""
