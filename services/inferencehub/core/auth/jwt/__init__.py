"""JWTs: who is behind a token that an identity provider has signed; `gateway/settings` imports it where tokens are on."""
