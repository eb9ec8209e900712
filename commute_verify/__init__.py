"""Which training domain should come later: the Lie bracket of gradient fields."""
