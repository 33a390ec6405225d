"""Where everything is in a sandbox, and the bounds of what the runner itself keeps or says."""

IN = "/in"
REQUEST = "/in/request.json"
PREPARE = "/in/prepare.json"
SCRIPT = "/in/script.py"

# By port; an item of a chunk has its tables elsewhere (item.py).
INPUTS = {"dataset1": "/in/dataset1", "dataset2": "/in/dataset2"}

RESULT = "/out/result.arrow"
RESULT2 = "/out/result2.arrow"
RESULTS = {"result": RESULT, "result2": RESULT2}
REPORT = "/out/report.json"
FILES = "/out/files.bin"
LOG = "/out/log"

JOB = "/job"
SHARED_MEMORY = "/dev/shm"
JOB_TMP = "/job/tmp"
JOB_SCRIPT = "/job/script.py"
OUTPUTS = "/job/outputs"
BUNDLE = "/job/Script Bundle"
BUNDLE_WINDOWS_NAME = ".\\Script Bundle"
MATPLOTLIB = "/job/.config/matplotlib"

PACKAGES = "/opt/fumehood/packages.json"
# The image's font list, made when it was built: finding all fonts again takes a second.
MATPLOTLIB_READY_MADE = "/opt/fumehood/matplotlib"

GO_LINE_BYTES = 64 * 1024
REQUEST_BYTES = 16 * 1024 * 1024
SCRIPT_BYTES = 1024 * 1024
EVENT_LINE_BYTES = 512
REPORT_BYTES = 1024 * 1024
CHILD_REPORT_BYTES = 1024 * 1024

TRACEBACK_CHARACTERS = 64 * 1024
MESSAGE_CHARACTERS = 4 * 1024
NAME_CHARACTERS = 256
SOURCE_CHARACTERS = 400
FRAMES = 50
NOTES = 100
COLUMNS_REPORTED = 2_000
# Names and types of the columns of one table. Two tables and the rest fit into the child's report.
COLUMNS_CHARACTERS = 100_000
# What a check tells of all tables together, as JSON; and of one table, and of one name or type.
SCHEMAS_BYTES = 400 * 1024
SCHEMA_COLUMNS = 10_000
SCHEMA_CHARACTERS = 2_000
ARTIFACTS = 1_000
ARTIFACT_PATH_BYTES = 512
ARTIFACT_DEPTH = 32
DIRECTORY_ENTRIES = 100_000
