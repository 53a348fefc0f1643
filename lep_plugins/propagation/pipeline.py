"""Learned Embedding Propagation from three model folders to a fourth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from darumeru.models.checkpoint_output import check_memory, check_output
from darumeru.models.checkpoint_write import Progress, Replacement, write_checkpoint
from darumeru.models.config_file import with_vocab_size
from darumeru.models.files import optional_json, write_json
from darumeru.models.token_ids import renumber
from lep_plugins.propagation.layers import difference_layers
from lep_plugins.propagation.methods import Method, Outcome, Setting, find_method
from lep_plugins.propagation.models import Trio, open_trio
from lep_plugins.propagation.origin_check import check_origin
from lep_plugins.propagation.output import ResultRows
from lep_plugins.propagation.phases import Phases
from lep_plugins.propagation.relation import Relation, relate
from lep_plugins.propagation.report import MatrixReport, MovedToken, PropagationReport
from lep_plugins.propagation.result_tokenizer import ResultTokenizer
from lep_plugins.propagation.solve import BLOCK_ROWS

AUDIT_FOLDER = "lep"
MOVED_TOKENS = 10
Say = Callable[[str], None]


def propagate(
    base: str | Path,
    target: str | Path,
    donor: str | Path,
    output: str | Path,
    method: str = "conversion",
    force: bool = False,
    *,
    device: str | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> PropagationReport:
    """Write the model `output`: the target with the donor's vocabulary and propagated embeddings.

    base, target, donor: model folders; the donor may be a LoRA adapter. method: swap, overlap, conversion or
    chat_vector. force: go on when the donor does not look made from this base. device: where products run ("cuda"
    when there is one, else "cpu"). progress: told (bytes written, bytes in all). say: told each phase in words.
    The report, T and its audit file go to the folder lep/ within the output.
    UserError: see docs/adaptation.md; nothing is written then.
    """
    say, phases, output = say or (lambda line: None), Phases(), Path(output)
    chosen = find_method(method)
    check_output(output)
    with phases("tokens"):
        trio = open_trio(base, target, donor)
        say("comparing the vocabularies")
        relation = relate(trio)
    with phases("checks"):
        if not force:
            check_origin(trio, relation)
        layers = difference_layers(trio) if chosen.layers else trio.layer_changes()
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        _check_memory(trio, relation, where)
    matrices = []
    for name in trio.matrices:
        say(f"{chosen.name}: {trio.target.tensor_name(name)}")
        matrices.append(_Matrix.compute(Setting(name, trio, relation, where, phases), chosen))
    say(f"writing {output}")
    return _Result(trio, relation, chosen, tuple(matrices), layers, phases, output).write(progress)


def _check_memory(trio: Trio, relation: Relation, device: str) -> None:
    """The largest phase: used rows in their own dtype, five d x d matrices in float64, the row blocks."""
    rows = trio.base.rows(trio.matrices[0])
    width, used = rows.width, int((relation.target_of_base >= 0).sum())
    needed = used * width * rows.dtype.itemsize + 5 * min(used, BLOCK_ROWS) * width * 4
    check_memory(needed + (5 * width * width * 8 if device == "cpu" else 0), "propagation")


@dataclass(frozen=True)
class _Matrix:
    """One matrix: what the method makes of it, and its rows to write."""

    setting: Setting
    outcome: Outcome
    rows: ResultRows

    @classmethod
    def compute(cls, setting: Setting, method: Method) -> _Matrix:
        outcome = method.outcome(setting)
        return cls(setting, outcome, ResultRows(setting, outcome.change))

    @property
    def tensor(self) -> str:
        return self.setting.trio.target.tensor_name(self.setting.matrix)

    def report(self) -> MatrixReport:
        """The numbers of this matrix; its rows have been written by then."""
        fit, movement = self.outcome.fit, self.rows.movement
        return MatrixReport(
            matrix=self.setting.matrix,
            tensor=self.tensor,
            width=self.setting.target.width,
            fit_rows=self.outcome.fit_rows,
            used_tokens=self.outcome.used_tokens,
            rank=fit.rank if fit else None,
            condition=fit.condition if fit else None,
            residual=fit.residual if fit else None,
            delta_norm=fit.delta_norm if fit else None,
            solver=fit.solver if fit else None,
            precision=self.outcome.change.precision,
            change=movement.norm,
            moved=tuple(self._moved(*item) for item in movement.most(MOVED_TOKENS)),
        )

    def _moved(self, token_id: int, change: float, size: float) -> MovedToken:
        table = self.setting.trio.donor.table
        token = table.tokens[token_id] if token_id < len(table) else None
        if isinstance(token, bytes):
            name = token.decode("utf-8", "backslashreplace")
        else:
            name = token.name if token else "(padding)"
        return MovedToken(token_id, name, change, change / size if size > 0 else 0.0)


@dataclass(frozen=True)
class _Result:
    """All that is written."""

    trio: Trio
    relation: Relation
    method: Method
    matrices: tuple[_Matrix, ...]
    layers: dict[str, Replacement]
    phases: Phases
    output: Path

    def write(self, progress: Progress | None) -> PropagationReport:
        """Write the model and return the report. UserError: no room, damaged rows."""
        source, new_id = self.trio.target.checkpoint, partial(self.relation.result_id, self.trio)
        config = renumber(source.config, new_id)
        generation = renumber(optional_json(source.path / "generation_config.json"), new_id)
        lost = list(dict.fromkeys([*config.warnings("the target"), *generation.warnings("the target")]))

        def add_audit(folder: Path) -> None:
            audit = folder / AUDIT_FOLDER
            audit.mkdir()
            self.relation.conversion.save(audit)
            write_json(audit / "report.json", self._report(lost).to_json())

        with self.phases("writing"):
            write_checkpoint(
                source,
                self.output,
                {**self.layers, **{matrix.tensor: matrix.rows.replacement() for matrix in self.matrices}},
                dropped=source.vocabulary.copies,
                config=with_vocab_size(config.config, self.relation.rows),
                generation_config=generation.config or None,
                tokenizer=ResultTokenizer(
                    self.trio.donor.tokenizer_folder, self.trio.target.tokenizer_folder, self.relation
                ),
                finish=add_audit,
                progress=progress,
            )
        return self._report(lost)

    def _report(self, lost: list[str]) -> PropagationReport:
        matrices = tuple(matrix.report() for matrix in self.matrices)
        return PropagationReport(
            method=self.method.name,
            base=str(self.trio.base.path),
            target=str(self.trio.target.path),
            donor=str(self.trio.donor.path),
            output=str(self.output),
            tied=self.trio.target.checkpoint.tied,
            rows=self.relation.rows,
            tokens=self.relation.conversion.counts(),
            appended=tuple(self.relation.new_ids),
            matrices=matrices,
            warnings=(*lost, *(line for matrix in matrices for line in matrix.warnings())),
            costs=dict(self.phases.costs),
        )
