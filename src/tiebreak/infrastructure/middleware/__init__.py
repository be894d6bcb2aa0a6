"""What stands before every route: who may speak to an unauthenticated server, and how much they may send."""
