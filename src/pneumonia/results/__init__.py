"""What the recipes reached, kept as small files in docs/results, and the leaderboard made from them."""
