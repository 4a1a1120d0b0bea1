"""The others: small honest servers that do the same job, each run by a Python of its own (bench/servers/peer.py starts them).

What imports a framework here runs in that framework's environment, with the tree on its path; the bench itself
imports none of it.
"""
