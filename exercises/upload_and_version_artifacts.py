# %% [markdown]
# # Artifacts and their versions
# A notebook (jupytext, percent format) that is also a script: `python` runs it, and
# `mlflow run data_analysis --env-manager uv -P notebook=exercises/upload_and_version_artifacts.py`
# opens it in Jupyter. Where W&B is logged in it works there, else in the embedded store.

# %%
import sys
import tempfile
from pathlib import Path

if "__file__" in globals():  # as a script; Jupyter was told where the project lies
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from util_lib import tracking

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A run logs a file: version v0

# %%
(folder / "my_artifact.txt").write_text("This is an example of an artifact.")
run = tracking.init(project="demo_artifact", group="experiment_1", job_type="upload")
artifact = tracking.Artifact(
    "my_artifact.txt", type="data", description="An artifact", metadata={"key_1": "value_1"}
)
artifact.add_file(str(folder / "my_artifact.txt"))
logged = run.log_artifact(artifact).wait()
print("logged", logged.name, logged.aliases)
run.finish()

# %% [markdown]
# ## The same file again is no new version, another content is; several runs in one program


# %%
def log(text: str) -> str:
    """Log a file with this text; return the version that holds it."""
    with tracking.init(project="demo_artifact", group="experiment_1", job_type="upload") as run:
        (folder / "my_artifact.txt").write_text(text)
        return tracking.log_file(
            run, folder / "my_artifact.txt", "my_artifact.txt", "data", "An artifact"
        ).version


first, again = log("This is an example of an artifact."), log("This is an example of an artifact.")
changed = log("This is another one.")
print("the same:", first == again, "changed:", changed != first)

# %% [markdown]
# ## A run that uses a version: by its number, or by an alias

# %%
with tracking.init(project="demo_artifact", job_type="use") as run:
    for name in (f"my_artifact.txt:{first}", "my_artifact.txt:latest"):
        text = Path(run.use_artifact(name).file()).read_text()
        print(name, "holds", repr(text))

# %% [markdown]
# ## Lineage: who used it

# %%
used = tracking.Api().artifact(f"demo_artifact/my_artifact.txt:{first}")
print(used.source_name, "was used by", [user.job_type for user in used.used_by()])
