"""Who may see what: sessions, and the accounts in each pipeline's database."""
