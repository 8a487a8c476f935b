"""A model behind the Open Inference Protocol: which of its tensors means what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ...errors import ConfigurationError, ProtocolError
from .tensors import Spec, specs

INPUTS = ('text', 'image', 'query', 'prompt')
OUTPUTS = ('embedding', 'text_embedding', 'image_embedding', 'score', 'response')
"""What tensors may mean: their roles."""


@dataclass(frozen=True)
class ServedModel:
    """One model: where it is, and its tensors by what they mean.

    Attributes:
        path: of its metadata.
        inputs: by role, see `INPUTS`.
        outputs: by role, see `OUTPUTS`.
        most: inputs in a call, where the server tells.
    """

    path: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    most: int | None

    def embedding(self, kind: str) -> Spec | None:
        """The output that embeds a modality, if the model has that."""
        return self.outputs.get(f'{kind}_embedding', self.outputs.get('embedding')) if kind in self.inputs else None

    @property
    def reranks(self) -> bool:
        """Whether it says how well each of several texts answers a query."""
        return {'query', 'text'} <= set(self.inputs) and 'score' in self.outputs

    def check_score(self) -> None:
        """See that a candidate gets one number, as far as the metadata tells.

        Raises:
            ConfigurationError: it gets more, such as one for each class.
        """
        spec = self.outputs['score']
        if any(size > 1 for size in spec.shape[int(spec.batched) :]):
            raise ConfigurationError(
                f'the output {spec} gives more than one number for each candidate: expected how relevant it is, '
                'alone; have the model give that, or name another output with ?score='
            )

    @property
    def responds(self) -> set[str]:
        """The tasks that it answers with text."""
        if 'image' not in self.inputs or 'response' not in self.outputs:
            return set()
        return {'caption', 'vqa'} if 'prompt' in self.inputs else {'caption'}


def served_model(path: str, metadata: Any, config: Mapping[str, Any], named: Mapping[str, str]) -> ServedModel:
    """What a server tells of a model.

    Args:
        path: of the metadata.
        metadata: the answer from there.
        config: Triton's configuration of the model, or {}.
        named: names of tensors by role, where they are not called after it.

    Raises:
        ProtocolError: it tells of no tensors.
    """
    inputs, outputs = specs(metadata, 'inputs'), specs(metadata, 'outputs')
    if not inputs or not outputs:
        raise ProtocolError(f'the metadata at {path} has no inputs or no outputs: add them to the settings there')
    most = config.get('max_batch_size')
    taken = _by_role(outputs, OUTPUTS, named)
    if not taken and len(outputs) == 1:
        taken = {'embedding': next(iter(outputs.values()))}
    limit = most if isinstance(most, int) and most > 0 else None
    return ServedModel(path, _by_role(inputs, INPUTS, named), taken, limit)


def _by_role(tensors: Mapping[str, Spec], roles: Sequence[str], named: Mapping[str, str]) -> dict[str, Spec]:
    """The tensors that have a role: named for it, else called after it, case aside."""
    lower = {name.lower(): spec for name, spec in tensors.items()}
    found = {role: tensors.get(named[role]) if role in named else lower.get(role) for role in roles}
    return {role: spec for role, spec in found.items() if spec is not None}
