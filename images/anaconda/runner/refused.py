"""How the parts of the child say that a job cannot go on."""


class Refused(Exception):
    """The job ends here, nearly always by its author's doing.

    `reason` is a word of the closed vocabulary (`bad_input`, `bad_return`, …); the text is one sentence for the author.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason
        self.message = message
