"""Tables of the transport's channel, session and results: steps, each result, the rows after."""
