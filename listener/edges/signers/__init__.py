"""Who signed a delivery with a key of their own: OpenID Connect tokens, and messages of Amazon SNS.

    fetching   one GET: bounded in time and size, over TLS, no redirects
    keys       a token issuer's keys: kept, renewed, and never asked for as often as a stranger likes
    oidc       the gate for tokens
    sns        the gate for SNS, its certificates, and the confirmation of a subscription

What is fetched is fetched from hosts that the settings name, or that a named issuer names. While that does not work it
cannot be told who signed: `SignerUnavailable`, and the sender comes again. No token, and no URL with one, gets into a
message, a log line or a chained error.
"""

from listener.edges.signers.fetching import Fetching
from listener.edges.signers.oidc import OidcGate
from listener.edges.signers.sns import SnsGate

__all__ = ["Fetching", "OidcGate", "SnsGate"]
