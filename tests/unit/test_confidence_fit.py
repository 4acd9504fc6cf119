"""Fitting the confidence of the base model to verdicts on simulated sessions."""

import msgspec
import pytest

from chargewatch.artefacts.folder import Artefact, ArtefactError
from chargewatch.csar2.calibration import FIGURES
from chargewatch.csar2.detect import judge
from chargewatch.csar2.shape_model import ShapeModel, base_artefact, base_model
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.evaluate.cases import Purpose, Split
from chargewatch.evaluate.columns import columns_of
from chargewatch.evaluate.confidence_fit import BASIS, fit_confidence
from chargewatch.evaluate.suite import SuiteSize, training
from chargewatch.features.batch import SessionBatch
from chargewatch.simulate import simulate_session


@pytest.fixture(scope="module")
def fitted():
    return fit_confidence(base_model(), 3, 0.02)


def test_it_is_fitted_to_sessions_of_the_training_mechanisms_alone(fitted):
    cases = list(training(3, SuiteSize.to_learn(0.02), Purpose.CALIBRATION))
    assert {case.split for case in cases} == {Split.TRAINING}
    assert 100 < fitted.sessions <= len(cases)
    assert fitted.basis == BASIS
    assert set(fitted.weights) == set(FIGURES)


def test_a_model_with_it_says_how_sure_it_is(fitted):
    artefact = base_artefact()
    manifest = msgspec.structs.replace(artefact.manifest, confidence=fitted)
    model = ShapeModel(Artefact(manifest, artefact.graph), "here")
    columns = columns_of([simulate_session(seed) for seed in range(20)])
    batch = SessionBatch(columns.readings, columns.declared, columns.now_us, DEFAULT_THRESHOLDS)
    for verdict, grounds in judge(batch, model):
        assert verdict.confidence_basis == BASIS
        assert verdict.confidence == round(model.confidence.confidence(grounds), 4)
        assert verdict.confidence > 0.5


def test_weights_of_another_version_are_refused(fitted):
    artefact = base_artefact()
    wrong = msgspec.structs.replace(fitted, weights={"normal": 1.0})
    with pytest.raises(ArtefactError, match="here: the confidence model has other figures"):
        ShapeModel(
            Artefact(msgspec.structs.replace(artefact.manifest, confidence=wrong), artefact.graph), "here"
        )
