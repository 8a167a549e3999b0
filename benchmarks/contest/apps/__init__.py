"""What runs in the peers' own environment: for each its tasks, its bulk submission and, where its own will not do, its
worker. Configured by the environment: CONTEST_REDIS (a URL), CONTEST_DSN, CONTEST_MARKS.
"""
