"""The composed configuration is checked before anything runs; one sentence says what is wrong."""

import pytest

from pipeline.planning.plan import plan
from pipeline.settings import overrides, resolvers, schema
from tests.pipeline.trivial_steps import STEPS
from util_lib.errors import UserError


@pytest.fixture(autouse=True)
def _resolvers():
    resolvers.register_resolvers()


def check(*given: str) -> schema.Settings:
    return schema.check(overrides.base_config(list(given)))


def refusal(*given: str) -> str:
    with pytest.raises(UserError) as refused:
        plan(check(*given))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_defaults_are_valid_and_run_every_step():
    assert check().main.execute_steps == list(STEPS)


@pytest.mark.parametrize(
    "given",
    [
        "main.execute_steps='get_data,preprocess'",
        "main.execute_steps='preprocess,get_data'",
        "main.execute_steps=' preprocess ,  get_data '",
        "main.execute_steps=[preprocess,get_data]",
        "main.execute_steps='download,preprocess'",
    ],
)
def test_steps_are_a_list_or_a_text_and_run_in_the_pipelines_order(given):
    assert check(given).main.execute_steps == ["get_data", "preprocess"]


def test_all_means_every_step():
    assert check("main.execute_steps=all").main.execute_steps == list(STEPS)


def test_the_test_of_the_promoted_model_runs_only_where_it_is_named_and_last():
    name = "test_regression_model"
    assert check(f"main.execute_steps=[{name},get_data]").main.execute_steps == ["get_data", name]
    said = refusal(f"main.execute_steps={name}", "random_forest_pipeline.export_artifact=null")
    assert said.startswith(f"config: {name} needs the input model_export")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("main.execute_steps=preproces", "unknown step 'preproces': the nearest is 'preprocess'"),
        ("main.execute_steps=[get_data,zzz]", "unknown step 'zzz': choose from get_data, prepro"),
        ("main.execute_steps=''", "names no step"),
        ("main.execute_steps=null", "names no step"),
        ("main.execute_steps='null'", "names no step"),
        ("main.execute_steps='all,get_data'", "'all' means every step and stands alone"),
        ("main.execute_steps=GET_DAT", "the nearest is 'get_data'"),
        ("main.execute_steps=trian", "the nearest is 'train_random_forest'"),
        ("main.execute_steps=3", "main.execute_steps: must be a list or a comma-separated text"),
        ("main.random_seed=abc", "main.random_seed must be a valid integer, found 'abc'"),
        ("main.random_seed=-1", "main.random_seed must be greater than or equal to 0, found -1"),
        ("main.env_manager=condo", "found 'condo'; the nearest is 'conda'"),
        ("main.tracking=remote", "main.tracking must be"),
        ("main.project_name=a/b", "main.project_name: 'a/b' cannot contain /"),
        ("main.project_name=''", "main.project_name must not be empty"),
        ("data.target=''", "data.target must not be empty"),
        ("data.file_url=''", "data.file_url must not be empty"),
        ("~data.target", "key 'data.target' is required and is not set: set it in the dataset"),
        ("~main", "key 'main.project_name' is required"),
        ("data.test_size=1.5", "data.test_size must be less than 1, found 1.5"),
        ("data.test_size=0", "data.test_size must be greater than 0, found 0"),
        ("data.duplicates=true", "data.duplicates must hold keys with values, found True"),
        ("data.duplicates={columns: []}", "data.duplicates.columns must not be empty"),
        ("data.test_size=many", "data.test_size must be a valid number, found 'many'"),
        ("data.val_size=true", "data.val_size"),
        ("data.ks_alpha=2", "data.ks_alpha"),
        ("data.sha256=abc", "data.sha256: must be 64 hexadecimal digits or null, found 'abc'"),
        ("data.raw_artifact=a/b", "data.raw_artifact: Artifact name may only contain"),
        ("data.raw_artifact='a:v1'", "Invalid name: 'a:v1'"),
        ("data.preprocessed_artifact='a b.csv'", "data.preprocessed_artifact: Artifact name may"),
        ("data.preprocessed_artifact=table.pq", "must end in .parquet or .csv"),
        ("data.preprocessed_artifact=table", "found 'table'"),
        ("data.reference_dataset=table.csv", "data.reference_dataset: Attempted to fetch artifact"),
        ("random_forest_pipeline.export_artifact='a:b'", "export_artifact: Artifact name may only"),
        ("+data.tset_size=0.2", "the nearest is 'data.test_size'"),
        ("+main.seed=1", "unknown key 'main.seed'"),
        (
            "+random_forest_pipeline.tfidf.max_feature=3",
            "random_forest_pipeline.tfidf.max_features",
        ),
        ("random_forest_pipeline.tfidf.max_features=0", "must be greater than 0, found 0"),
        (
            "random_forest_pipeline.numerical_imputer=mode",
            "'median', 'mean' or 'zero', found 'mode'",
        ),
        (
            "+random_forest_pipeline.random_forest.max_depht=3",
            "unknown hyperparameter 'max_depht': the nearest is 'max_depth'",
        ),
        (
            "random_forest_pipeline.random_forest.max_depth=-3",
            "must be a whole number of at least 1, or null, found -3",
        ),
        ("random_forest_pipeline.random_forest.max_features=auto", "write 'sqrt'"),
        ("random_forest_pipeline.calibrate=sigmoid", "random_forest_pipeline.calibrate must be"),
        ("random_forest_pipeline.features.numerical=[tempoo]", "the nearest is 'tempo'"),
        (
            "random_forest_pipeline.features.numerical=[tempo,title]",
            "numerical: column 'title' has dtype string, and a numerical feature needs numbers",
        ),
        ("random_forest_pipeline.features.categorical=[genre]", "holds the target 'genre'"),
        ("random_forest_pipeline.features.nlp=[tempo]", "column 'tempo' is named twice"),
        ("random_forest_pipeline.export_artifact=null", "evaluate needs"),
        ("random_forest_pipeline.export_artifact=none", "evaluate needs"),
        ("data.target=gender", "the nearest is 'genre'"),
        ("data.stratify=gender", "the nearest is 'genre'"),
        ("data.task=clustering", "data.task"),
        ("+steps.get_dato={uri: x, version: null}", "the nearest is 'get_data'"),
        ("++steps.get_data.version=main", "set uri too"),
        ("data.columns.tempo.min=300", "tempo"),
        ("+data.columns.tempo.maxi=300", "unknown key 'data.columns.tempo.maxi'"),
    ],
)
def test_a_fault_is_one_sentence_with_key_value_and_way_out(given, said):
    assert said in refusal(given)


def test_what_calibrates_needs_validation_rows():
    said = refusal("random_forest_pipeline.calibrate=isotonic", "data.val_size=0")
    assert "calibrate 'isotonic' needs validation rows and data.val_size is 0" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["data.tst_size=0.2"],
            "unknown config key 'data.tst_size': the nearest is 'data.test_size'",
        ),
        (["data.tst_size=0.2"], "(value 0.2)"),
        (["dataset=music_gener"], "unknown dataset 'music_gener': the nearest is 'music_genre'"),
        (["main.random_seed=1,2"], "add -m to run once for each"),
        (["a=`x`"], "cannot read the override 'a=`x`'"),
        (["random_forest_pipeline.random_forest.max_dept=3"], "random_forest.max_depth"),
    ],
)
def test_hydras_refusal_becomes_one_sentence(given, said):
    from hydra.errors import HydraException

    with pytest.raises(HydraException) as refused:
        overrides.base_config(given)
    explained = str(overrides.explain(refused.value, given))
    assert said in explained and "\n" not in explained


@pytest.mark.parametrize(
    "key",
    """main.project_name main.experiment_name main.execute_steps main.random_seed
    main.components_repository data.file_url data.reference_dataset data.ks_alpha data.test_size
    data.val_size data.stratify random_forest_pipeline.tfidf.max_features
    random_forest_pipeline.features.numerical random_forest_pipeline.features.categorical
    random_forest_pipeline.features.nlp random_forest_pipeline.export_artifact""".split(),
)
def test_every_documented_key_has_its_place(key):
    assert key in overrides.config_keys(overrides.base_config([]))


def test_the_joined_text_is_no_number():
    features = "random_forest_pipeline.features"
    said = refusal(f"{features}.numerical=[text_feature]", f"{features}.nlp=[]")
    assert "column 'text_feature' has dtype string" in said


def test_the_documented_hyperparameters_are_the_defaults():
    forest = check().random_forest_pipeline.random_forest
    assert forest == {
        "n_estimators": 100,
        "criterion": "gini",
        "max_depth": 13,
        "min_samples_split": 2,
        "min_samples_leaf": 1,
        "min_weight_fraction_leaf": 0.0,
        "max_features": "sqrt",
        "max_leaf_nodes": None,
        "min_impurity_decrease": 0.0,
        "bootstrap": True,
        "oob_score": False,
        "n_jobs": None,
        "random_state": 42,
        "verbose": 0,
        "warm_start": False,
        "class_weight": "balanced",
        "ccp_alpha": 0.0,
        "max_samples": None,
    }


def test_one_seed_seeds_the_forest_too_unless_it_has_its_own():
    assert check("main.random_seed=7").random_forest_pipeline.random_forest["random_state"] == 7
    own = check("random_forest_pipeline.random_forest.random_state=3")
    assert own.random_forest_pipeline.random_forest["random_state"] == 3
    assert own.main.random_seed == 42


def test_features_come_from_the_columns_roles_in_their_order():
    features = check().random_forest_pipeline.features
    assert features.numerical[:3] == ["danceability", "energy", "loudness"]
    assert features.categorical == ["time_signature", "key"]
    assert features.nlp == ["text_feature"]


@pytest.mark.parametrize("word", ["null", "none", "None", "''"])
def test_no_stratification_is_possible(word):
    assert check(f"data.stratify={word}").data.stratify is None


def test_an_empty_name_of_a_sweep_is_no_name_and_a_wrong_one_says_what_a_name_is():
    assert check("sweep.name=").sweep.name is None
    with pytest.raises(UserError, match="sweep.name: must be at most 100 letters.*found 'a b'"):
        check("sweep.name='a b'")


def test_a_columns_key_is_set_whether_the_dataset_file_has_it_or_not():
    given = ["data.columns.tempo.nullable=true", "data.columns.tempo.max=260"]
    column = check(*overrides.command_line(given)).data.columns["tempo"]
    assert column.nullable and column.max == 260


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "main: {project_name: mine}\ndata: {target: a}\n",
            "conf/dataset/mine.yaml must have `# @package _global_` as its first line",
        ),
        (
            "# @package _global_\ndata: {target: a}\n",
            "key 'main.project_name' is required and is not set: set it in conf/dataset/mine.yaml",
        ),
        (
            "# @package _global_\nmain: {project_name: mine}\ndata: {file_url: x, target: a}\n",
            "key 'data.columns' is required",
        ),
        ("", "must have `# @package _global_` as its first line"),
    ],
)
def test_what_a_dataset_file_lacks_is_named_with_the_file(tmp_path, file, said):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text(file)
    config = overrides.base_config(["dataset=mine", f"hydra.searchpath=[{tmp_path},pkg://conf]"])
    with pytest.raises(UserError) as refused:
        schema.check(config, dataset="mine")
    assert said in str(refused.value)


def test_a_fault_in_the_data_section_names_the_dataset_file():
    config = overrides.base_config(["data.test_size=2"])
    named = r"config \(conf/dataset/songs_demo.yaml, or an override\): data.test_size"
    with pytest.raises(UserError, match=named):
        schema.check(config, dataset="songs_demo")
