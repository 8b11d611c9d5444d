"""What of ART is public, and what cannot apply to a classifier of images in torch, and why."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import warnings

import art

#: Where ART keeps what its users call.
ROOMS = (
    "art.attacks.",
    "art.defences.",
    "art.estimators.",
    "art.evaluations.",
    "art.data_generators",
    "art.metrics.",
    "art.preprocessing.",
)
#: Their functions are public, too.
FUNCTIONS = ("art.metrics.",)


def public() -> set[str]:
    """Every public class of ART, and functions where they are what is called, as ``module.name``; no abstract ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(art.__path__, "art."):
            try:
                importlib.import_module(module.name)
            except ImportError:  # wants a package that is not here
                continue
    found = set()
    for name, module in list(sys.modules.items()):
        if not name.startswith(ROOMS):
            continue
        for attribute, value in vars(module).items():
            wanted = inspect.isclass(value) or (inspect.isfunction(value) and name.startswith(FUNCTIONS))
            if attribute.startswith("_") or not wanted or value.__module__ != name or inspect.isabstract(value):
                continue
            found.add(f"{name}.{attribute}")
    return found


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Why, and the names of classes; a name may stand in several modules.
NOT_APPLICABLE: dict[str, tuple[str, ...]] = {
    "for TensorFlow or Keras": _names(
        """AdversarialPatchTensorFlowV2 FeatureAdversariesTensorFlowV2 ProjectedGradientDescentTensorFlowV2
        MalwareGDTensorFlow BackdoorAttackDGMReDTensorFlowV2 BackdoorAttackDGMTrailTensorFlowV2
        HiddenTriggerBackdoorKeras PoisoningAttackAdversarialEmbedding CutMixTensorFlowV2 CutoutTensorFlowV2
        MixupTensorFlowV2 SpatialSmoothingTensorFlowV2 NeuralCleanse NeuralCleanseMixin KerasNeuralCleanse BlockAblator
        ColumnAblator TensorFlowV2DeRandomizedSmoothing TensorFlowV2MACER TensorFlowV2RandomizedSmoothing
        TensorFlowV2SmoothAdv KerasClassifier TensorFlowV2Classifier TensorFlowV2GAN TensorFlowV2Generator
        KerasRegressor KerasDataGenerator TensorFlowV2DataGenerator EoTImageRotationTensorFlow EoTBrightnessTensorFlow
        EoTContrastTensorFlow EoTGaussianNoiseTensorFlow EoTShotNoiseTensorFlow EoTZoomBlurTensorFlow
        StandardisationMeanStdTensorFlow ImageResizeTensorFlowV2 ImageSquarePadTensorFlowV2"""
    ),
    "for audio or speech": _names(
        """CarliniWagnerASR ImperceptibleASR PsychoacousticMasker ImperceptibleASRPyTorch Mp3Compression
        Mp3CompressionPyTorch Resample PyTorchDeepSpeech PyTorchEspresso SpeechRecognizerMixin LFilter LFilterPyTorch
        CacheToNumpy CacheAudioTrigger"""
    ),
    "for video or tracking": _names(
        "AdversarialTexturePyTorch OverTheAirFlickeringPyTorch VideoCompression VideoCompressionPyTorch PyTorchGoturn"
    ),
    "for object detectors": _names(
        """DPatch RobustDPatch OverloadPyTorch SNAL TileArray TileObj BadDetGlobalMisclassificationAttack
        BadDetObjectDisappearanceAttack BadDetObjectGenerationAttack BadDetRegionalMisclassificationAttack
        PyTorchObjectSeeker HungarianMatcher NestedTensor SetCriterion PyTorchDetectionTransformer PyTorchFasterRCNN
        PyTorchObjectDetector PyTorchYolo PyTorchYoloLossWrapper TensorFlowV2FasterRCNN"""
    ),
    "for tables: one feature is one column": _names(
        """LowProFool AttributeInferenceBaseline AttributeInferenceBlackBox AttributeInferenceMembership
        AttributeInferenceBaselineTrueLabel AttributeInferenceWhiteBoxDecisionTree
        AttributeInferenceWhiteBoxLifestyleDecisionTree"""
    ),
    "for scikit-learn, GPy, gradient-boosted trees, JAX or MXNet models": _names(
        """DecisionTreeAttack HighConfidenceLowUncertainty DatabaseReconstruction PoisoningAttackSVM
        GPyGaussianProcessClassifier CatBoostARTClassifier LightGBMClassifier XGBoostClassifier
        ScikitlearnAdaBoostClassifier ScikitlearnBaggingClassifier ScikitlearnClassifier
        ScikitlearnDecisionTreeClassifier ScikitlearnExtraTreeClassifier ScikitlearnExtraTreesClassifier
        ScikitlearnGaussianNB ScikitlearnGradientBoostingClassifier ScikitlearnLinearSVC
        ScikitlearnLogisticRegression ScikitlearnRandomForestClassifier ScikitlearnSVC ScikitlearnDecisionTreeRegressor
        ScikitlearnRegressor RobustnessVerificationTreeModelsCliqueMethod Box Interval LeafNode Tree"""
    ),
    "for regression": _names("BlackBoxRegressor PyTorchRegressor RegressorMixin"),
    "bounds a network layer by layer, and knows dense, convolution and ReLU layers only": _names(
        """AdversarialTrainerCertifiedPytorch AdversarialTrainerCertifiedIBPPyTorch DefaultLinearScheduler ZonoBounds
        ZonoConv ZonoDenseLayer ZonoReLU ConvertedModel PytorchDeepZ PyTorchIntervalBounds PyTorchIntervalConv2D
        PyTorchIntervalDense PyTorchIntervalFlatten PyTorchIntervalReLU PyTorchIBPClassifier"""
    ),
    "wants a network of one hidden layer": _names("FunctionallyEquivalentExtraction"),
    "an estimator of its own, for another kind of model": _names(
        "HuggingFaceClassifierPyTorch PatchEmbed PyTorchVisionTransformer"
    ),
    "changes the number of channels, which a trained image tower cannot take": _names("ThermometerEncoding"),
    "refuses models with channels first (laser_attack.py:166)": _names(
        "LaserAttack LaserBeam LaserBeamAttack LaserBeamGenerator DebugInfo ImageGenerator Line Range"
    ),
    "a part of another class or a base class": _names(
        """Attack InputFilter CMAEarlyStoppingException DifferentialEvolutionSolver PixelThreshold
        ProjectedGradientDescentCommon LossMeter FuzzyMapping ClassifierMixin AbstainPredictorMixin get_roc_for_fpr
        get_roc_for_multi_fprs wasserstein_distance BFGSB L0Optimizer L1Optimizer L2Optimizer LinfOptimizer
        Optimizer UpSamplerPyTorch"""
    ),
}
