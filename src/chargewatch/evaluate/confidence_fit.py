"""Fits the confidence of a model to verdicts on sessions that nothing else was fitted on."""

from collections.abc import Callable
from typing import Final

import numpy as np

from chargewatch.artefacts.manifest import ConfidenceFit
from chargewatch.csar2.calibration import FIELD_PREVALENCE, Grounds, fit
from chargewatch.csar2.detect import judge
from chargewatch.csar2.shape_model import ShapeModel
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.evaluate.cases import Purpose
from chargewatch.evaluate.columns import columns_of
from chargewatch.evaluate.run import blocks_of
from chargewatch.evaluate.suite import SuiteSize, training
from chargewatch.evaluate.truth import State, truth_of
from chargewatch.features.batch import SessionBatch

BASIS: Final = "simulated"


def fit_confidence(
    model: ShapeModel, seed: int, scale: float = 1.0, progress: Callable[[int], None] = lambda _: None
) -> ConfidenceFit:
    """Judges calibration sessions (training mechanisms only, seeds of their own) and fits the confidence.

    A verdict is right when it says anomalous of a session with a fault that its readings prove, and normal of one
    without; sessions with a fault that is not proven are left out.

    Args:
        model: the network that judges with the rules.
        seed: of the sessions.
        scale: of their number, 1 for that of the standard suite.
        progress: told how many sessions have been judged.
    """
    grounds: list[Grounds] = []
    right: list[bool] = []
    faulty: list[bool] = []
    done = 0
    for block in blocks_of(training(seed, SuiteSize.to_learn(scale), Purpose.CALIBRATION)):
        columns = columns_of([case.session for case in block])
        batch = SessionBatch(columns.readings, columns.declared, columns.now_us, DEFAULT_THRESHOLDS)
        for case, judged in zip(block, judge(batch, model), strict=True):
            state = truth_of(case).state
            if state is not State.UNPROVEN:
                grounds.append(judged.grounds)
                faulty.append(state is State.ANOMALOUS)
                right.append(judged.verdict.is_anomaly == faulty[-1])
        done += len(block)
        progress(done)
    weights = fit(grounds, np.array(right), np.array(faulty), FIELD_PREVALENCE)
    return ConfidenceFit(BASIS, len(grounds), FIELD_PREVALENCE, weights)
