import scopewright.verifier as room


def test_the_public_names_are_these_and_all_are_there() -> None:
    """A name added here is a promise; a name taken away breaks somebody."""
    names = (
        "ALGORITHMS IssuerMismatch Key KeySet Nonces Policy Reason Rejected Replay ReplayMemory RequireToken "
        "RevocationFeed Token Unavailable Verifier bearer_token check protect replay_key require"
    )
    assert room.__all__ == names.split()
    for name in room.__all__:
        assert getattr(room, name)
