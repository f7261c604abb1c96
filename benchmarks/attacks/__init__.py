"""What an attacker sees: how well stego and reply are told from covers, and what can be taken out of them."""
