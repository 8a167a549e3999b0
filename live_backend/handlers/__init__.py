"""Work of the user's own, a file a kind: callables here or in processes of their own, HTTP endpoints, and the synthetic
work of roles that have none.
"""
