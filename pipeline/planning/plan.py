"""The way of the data: which steps run, with which parameters, from and to which artifacts."""

from pathlib import PurePosixPath
from typing import Any

from pipeline.planning.step import Step
from pipeline.settings.schema import TEST_PROD, Settings

REFERENCE = "reference_data.parquet"  # the half of the rows that preprocess sets aside
TRAIN_TEST_ROOT = "data"  # segregate makes data_train and data_test

# Where a step's parameter comes from, where it is not called as in the configuration.
CONFIG_KEYS = {
    "file_url": "data.file_url",
    "sha256": "data.sha256",
    "max_bytes": "data.max_bytes",
    "ks_alpha": "data.ks_alpha",
    "test_size": "data.test_size",
    "val_size": "data.val_size",
    "stratify": "data.stratify",
    "random_state": "main.random_seed",
    "random_seed": "main.random_seed",
    "export_artifact": "random_forest_pipeline.export_artifact",
    "dataset_config": "data",
    "model_config": "random_forest_pipeline",
}

# Keys of `data` that a step has no use for. It does not get them (they have their defaults there),
# so that changing one does not make the step run again.
SPLIT_KEYS = ("test_size", "val_size")
SOURCE_KEYS = ("sha256", "max_bytes")
CHECK_KEYS = ("reference_dataset", "ks_alpha", "min_effect", "kl_threshold", "leakage", "checks")
CLEAN_KEYS = ("format", "csv", "clean", "drop_duplicates", "derived", "reference_half")


def plan(settings: Settings) -> list[Step]:
    """List the steps to run, in running order. Pure: reads nothing but `settings`."""
    data, model = settings.data, settings.random_forest_pipeline
    raw, preprocessed = data.raw_artifact, data.preprocessed_artifact
    suffix = PurePosixPath(preprocessed).suffix
    train, test = f"{TRAIN_TEST_ROOT}_train{suffix}", f"{TRAIN_TEST_ROOT}_test{suffix}"
    # no step but get_data needs the address, and it may hold secrets
    declared = {**data.model_dump(), "file_url": "in get_data"}
    to_clean = _without(declared, *SOURCE_KEYS, *SPLIT_KEYS, *CHECK_KEYS)
    if not data.reference_half:
        to_clean = _without(to_clean, "stratify")
    to_check = _without(
        declared,
        *SOURCE_KEYS,
        *SPLIT_KEYS,
        *CLEAN_KEYS,
        "ks_alpha",
        "reference_dataset",
        "stratify",
    )
    every = {
        "get_data": Step(
            name="get_data",
            parameters={
                "file_url": data.file_url,
                "artifact_name": raw,
                "sha256": _text(data.sha256),
                "max_bytes": _text(data.max_bytes),
            },
            inputs=(),
            outputs=(raw,),
            uri="get_data",
        ),
        "preprocess": Step(
            name="preprocess",
            parameters={
                "input_artifact": f"{raw}:latest",
                "artifact_name": preprocessed,
                # Only halves are drawn at random; another seed alone gives no other table.
                **(
                    {"random_state": _text(settings.main.random_seed)}
                    if data.reference_half
                    else {}
                ),
            },
            files={"dataset_config": to_clean},
            inputs=(f"{raw}:latest",),
            outputs=(preprocessed, REFERENCE) if data.reference_half else (preprocessed,),
            uri="preprocess",
        ),
        "check_data": Step(
            name="check_data",
            parameters={
                "reference_artifact": data.reference_dataset,
                "sample_artifact": f"{preprocessed}:latest",
                "ks_alpha": _text(data.ks_alpha),
            },
            files={"dataset_config": to_check},
            inputs=(data.reference_dataset, f"{preprocessed}:latest"),
            outputs=("check_data_log", "check_data_report"),
            uri="check_data",
        ),
        "segregate": Step(
            name="segregate",
            parameters={
                "input_artifact": f"{preprocessed}:latest",
                "artifact_root": TRAIN_TEST_ROOT,
                "test_size": _text(data.test_size),
                "random_state": _text(settings.main.random_seed),
                "stratify": _text(data.stratify),
            },
            inputs=(f"{preprocessed}:latest",),
            outputs=(train, test),
            uri="segregate",
        ),
        "train_random_forest": Step(
            name="train_random_forest",
            parameters={
                "train_data": f"{train}:latest",
                "export_artifact": _text(model.export_artifact),
                "random_seed": _text(settings.main.random_seed),
                "val_size": _text(data.val_size),
                "stratify": _text(data.stratify),
            },
            files={"model_config": model.model_dump()},
            inputs=(f"{train}:latest",),
            outputs=(model.export_artifact,) if model.export_artifact else (),
            uri="train_random_forest",
        ),
        "evaluate": Step(
            name="evaluate",
            parameters={
                "model_export": f"{model.export_artifact}:latest",
                "test_data": f"{test}:latest",
            },
            inputs=(f"{model.export_artifact}:latest", f"{test}:latest"),
            outputs=(),
            uri="evaluate",
        ),
    }
    every[TEST_PROD] = Step(
        name=TEST_PROD,
        parameters={
            "model_export": f"{model.export_artifact}:prod",
            "test_data": f"{test}:latest",
        },
        inputs=(f"{model.export_artifact}:prod", f"{test}:latest"),
        outputs=(),
        uri="evaluate",
    )
    return [_placed(every[name], settings) for name in settings.main.execute_steps]


def _placed(step: Step, settings: Settings) -> Step:
    """Point `step` at the repository its code comes from: its own, the common one, or here."""
    source = settings.steps.get(step.name)
    uri, version = step.uri, None
    if source and source.uri:
        uri, version = source.uri, source.version
    elif repository := settings.main.components_repository:
        # "url" means its top folder, "url#folder" a folder of it that holds the steps
        uri = f"{repository.rstrip('/')}{'/' if '#' in repository else '#'}{step.uri}"
        version = settings.main.components_version
    return Step(**{**vars(step), "uri": uri, "version": version})


def _without(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _text(value: object) -> str:
    """Write a parameter as the steps read it: None is "null", as in YAML."""
    return "null" if value is None else str(value)
