"""The peers: small, fair servers of other frameworks that do the same job (bench/servers/peer.py starts them).

Each file here runs in the environment of its framework, with the source tree on its path. The bench itself imports none
of these files.
"""
