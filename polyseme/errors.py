"""Every error that Polyseme raises on purpose.

PolysemeError
├── InputError               the text or data that was given
│   ├── DecodeError          bytes that are not in the stated encoding
│   └── TooLongError         a sentence that is beyond what the model can read
├── ModelError               the model that was given
│   ├── UnknownFormatError   no known layout at this path
│   ├── DamagedModelError    truncated, missing or misshapen contents
│   ├── UnsupportedModelError  readable, but of a kind that cannot be run or written here
│   └── NotConvergedError    the settled state was not reached
├── FetchError               a model that is not on this machine and could not be fetched
├── OutputError              the place where results go (disk full, exists already, another run's)
│   └── ResumeError          what is there cannot be continued by this run
├── TrainingError            a run whose loss cannot be brought down again
├── OptionError              two options contradict each other, or a value is out of its range
└── MissingExtraError        an optional dependency is not installed

A message says what was found (the value, the file, the line) and what to do next.
"""

from __future__ import annotations


class PolysemeError(Exception):
    """Root of all errors raised on purpose: `except PolysemeError` catches every one of them."""


class InputError(PolysemeError):
    """The text or data given cannot be used as it is."""


class DecodeError(InputError):
    """Bytes of an input are not valid in the stated encoding."""


class TooLongError(InputError):
    """A sentence is longer than the model's context (Transformers only; an LSTM reads any length)."""


class ModelError(PolysemeError):
    """A model cannot be opened, run or written."""


class UnknownFormatError(ModelError):
    """Nothing at the path looks like a published ELMo layout."""


class DamagedModelError(ModelError):
    """A model file is truncated, lacks tensors, or holds tensors of other shapes than its configuration says."""


class UnsupportedModelError(ModelError):
    """The model is intact, but asks for something that the reader, the target format or the verb cannot express."""


class NotConvergedError(ModelError):
    """Reading sentence boundaries again and again did not bring the LSTM to a fixed state."""


class FetchError(PolysemeError):
    """What was asked for is not on this machine, and the network did not give it; the message says where to put it."""


class OutputError(PolysemeError):
    """Results cannot be written where they should go."""


class ResumeError(OutputError):
    """A partial result exists, but belongs to another input, model or set of options."""


class TrainingError(PolysemeError):
    """Training went astray (a loss that is no number, or runs away), also at lower learning rates."""


class OptionError(PolysemeError, ValueError):
    """Arguments contradict each other or lie outside their range."""


class MissingExtraError(PolysemeError, ImportError):
    """A feature needs a package that is not installed; the message names the extra that brings it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an optional dependency: pip install "polyseme[{extra}]"')
        self.extra = extra
