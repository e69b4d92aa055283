"""The model that `mlflow models serve` serves: the bytes of photos in, their classes out.

MLflow copies this file into the model, the package beside it, and runs it when the model is loaded: so nothing is
pickled, and answers are those of the code that the model was logged with.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc import PythonModel

if TYPE_CHECKING:
    from torch import Tensor


class BadPhoto(MlflowException):  # type: ignore[misc]
    """What cannot be read as a photo: an answer with status 400 and one line."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=BAD_REQUEST)

    def serialize_as_json(self) -> str:
        """The answer; MLflow would put the table of photos in front of the message."""
        return json.dumps({"error_code": self.error_code, "message": str(self)})


class Served(PythonModel):  # type: ignore[misc]
    """A trained run's model: column `image`, a photo's file in base64; columns `prediction` and p(CLASS) of each."""

    def load_context(self, context: Any) -> None:
        """Load the checkpoint that was logged."""
        from flowerbench import trained

        self.trained = trained.load(Path(context.artifacts["checkpoint"]).parent)

    def predict(self, context: Any, model_input: pd.DataFrame) -> pd.DataFrame:
        """A row for each photo. Raises BadPhoto when one cannot be read."""
        import torch

        from flowerbench import answers

        squares = self._squares(list(model_input["image"]))
        size = answers.batch_size(self.trained)
        chunks = [squares[start : start + size] for start in range(0, len(squares), size)]
        classes = self.trained.classes
        found = [self.trained.probabilities(self.trained.normalised(chunk)).cpu() for chunk in chunks]
        shares = torch.cat([torch.empty(0, len(classes)), *found]).double()
        table = pd.DataFrame(shares.numpy(), columns=[f"p({name})" for name in classes])
        table.insert(0, "prediction", [classes[index] for index in shares.argmax(1).tolist()])
        return table

    def _squares(self, texts: list[object]) -> list[Tensor]:
        squares, bad = [], []
        for number, text in enumerate(texts, start=1):
            try:
                squares.append(self._square(text))
            except Exception as error:  # Pillow's plugins raise anything on a broken file
                bad.append(f"image {number} of {len(texts)} cannot be read: {_reason(error)}")
        if bad:
            more = f" (and {len(bad) - 1} more cannot be read)" if len(bad) > 1 else ""
            raise BadPhoto(bad[0] + more)
        return squares

    def _square(self, text: object) -> Tensor:
        from flowerbench.data import images

        if not isinstance(text, str):
            raise TypeError("it is no text")
        content = base64.b64decode("".join(text.split()), validate=True)
        return self.trained.square(images.read_rgb(io.BytesIO(content)))


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, binascii.Error):
        return "it is not the base64 of a file"
    if isinstance(error, UnidentifiedImageError):
        return "its bytes are no image"
    return " ".join(str(error).split()) or type(error).__name__


mlflow.models.set_model(Served())
