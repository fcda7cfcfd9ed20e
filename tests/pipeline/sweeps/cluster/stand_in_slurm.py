"""Slurm's commands, stood in for: what sbatch takes runs here, one task after the other.

The genuine submitit writes the script that sbatch is given and reads what sacct says.
"""

import sys
from pathlib import Path

HEAD = """#!{python}
import os, pathlib, re, subprocess, sys
home = pathlib.Path({home!r})
"""
SBATCH = """
text = pathlib.Path(sys.argv[1]).read_text()
number = str(1000 + len(list(home.glob("*.sbatch"))))
(home / f"{number}.sbatch").write_text(text)
log = open(home / "log.txt", "a")  # Slurm begins later, when nobody waits for sbatch any more
subprocess.Popen([home / "bin" / "slurmd", number], stdin=log, stdout=log, stderr=log,
    start_new_session=True)
print(f"Submitted batch job {number}")
"""
SLURMD = """
number = sys.argv[1]
script = home / f"{number}.sbatch"
array = re.search(r"--array=0-(\\d+)", script.read_text())
for task in range(int(array[1]) + 1) if array else [None]:
    name = number if task is None else f"{number}_{task}"
    own = {"JOB_ID": name, "JOB_NUM_NODES": "1", "NTASKS": "1", "NODEID": "0", "PROCID": "0",
        "LOCALID": "0", "JOB_NODELIST": "n1"}
    if task is not None:
        own |= {"ARRAY_JOB_ID": number, "ARRAY_TASK_ID": str(task)}
    own = {f"SLURM_{key}": value for key, value in own.items()}
    code = subprocess.run(["bash", script], env={**os.environ, **own}).returncode
    (home / f"{name}.state").write_text("FAILED" if code else "COMPLETED")
"""
SACCT = """
print("JobID|State|NodeList")
for path in home.glob("*.state"):
    print(f"{path.stem}|{path.read_text()}|n1")
"""
SRUN = """
words = sys.argv[1:]
while words[0].startswith("-"):
    words = words[1 if words[0] == "--unbuffered" else 2:]
os.execvp(words[0], words)
"""
COMMANDS = {"sbatch": SBATCH, "slurmd": SLURMD, "sacct": SACCT, "srun": SRUN, "scancel": ""}


def make(home: Path) -> Path:
    """Make the commands; return the folder for the PATH."""
    folder = home / "bin"
    folder.mkdir(parents=True)
    head = HEAD.format(python=sys.executable, home=str(home))
    for name, text in COMMANDS.items():
        (folder / name).write_text(head + text)
        (folder / name).chmod(0o755)
    return folder
