"""The command line, one module per noun. Every command speaks HTTP, so it shows what the API says."""
