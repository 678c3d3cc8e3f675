"""The schema. Change it here and add a migration (docs/architecture.md says how)."""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    column,
    event,
    table,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only for a column of exactly this type.
Number = BigInteger().with_variant(Integer(), "sqlite")

source_file = Table(
    "source_file",
    metadata,
    Column("hash", Text, primary_key=True),  # sha256 of the stored bytes, or hub name and revision
    Column("source", Text, nullable=False),  # base name of the file, or hub name
    Column("name", Text, nullable=False),
    Column("settings", JSON, nullable=False),  # field names given by the user, licence
    Column("state", Text, nullable=False),  # importing | complete
    Column("rows", Integer, nullable=False, default=0),
    Column("warnings", JSON, nullable=False),
)

seed = Table(
    "seed",
    metadata,
    Column("id", Text, primary_key=True),
    Column("document_hash", Text, nullable=False),
    Column("first_line", Integer, nullable=False),
    Column("last_line", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("licence_evidence", Text, nullable=False),
    Column("method", Text, nullable=False, server_default="comment-function"),  # how it was cut
)

# What lists of seeds count and order by, in one narrow row (curation/store/seeds.py keeps it true).
seed_place = Table(
    "seed_place",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),  # order in which they came
    Column("seed_id", Text, ForeignKey("seed.id"), nullable=False, unique=True),
    Column("language", Text, nullable=False),  # this and the next three: copies
    Column("source", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("chars", Integer, nullable=False),  # of the text
    sqlite_autoincrement=True,  # no number is given twice: pages are named by them
)

# The words of every seed: its text, path and source. It holds no texts, only where their words are.
seed_text = table("seed_text", column("rowid"), column("seed_text"))
MAKE_SEED_TEXT = (
    "CREATE VIRTUAL TABLE seed_text USING fts5("
    "text, path, source, content='', tokenize='unicode61', prefix='3')"
)
event.listen(metadata, "after_create", DDL(MAKE_SEED_TEXT).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]

# One source of code, as a person named it, and how far it was read.
harvest = Table(
    "harvest",
    metadata,
    Column("id", Text, primary_key=True),  # digest(what was named)
    Column("given", Text, nullable=False),  # folder, archive, git URL, file or hf:NAME
    Column("settings", JSON, nullable=False),
    Column("state", Text, nullable=False),  # harvesting | complete
    Column("position", JSON),  # after the last document that was kept on record; None: none was
    Column("skipped", JSON, nullable=False),  # files that are no documents: {reason: n}
)

# Every document of every harvest, used or left out.
document = Table(
    "document",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("harvest_id", Text, ForeignKey("harvest.id"), nullable=False),
    Column("source", Text, nullable=False),  # package==version, repository@commit, name of a folder or file
    Column("path", Text, nullable=False),  # inside that source
    Column("hash", Text, nullable=False, index=True),  # sha256 of its bytes
    Column("language", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("licence_evidence", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("cuts", JSON, nullable=False),  # [[first line, last line], ...], from 1, inclusive
    Column("redacted", JSON, nullable=False),  # {kind: n}
    Column("state", Text, nullable=False),  # kept | dropped
    # Where it was dropped: "reading" by itself, "comparing" beside the others. Kept ones have none, or
    # "rescued" and the reason that a person overruled.
    Column("stage", Text),
    Column("reason", Text),
    Column("evidence", JSON, nullable=False),
    UniqueConstraint("harvest_id", "source", "path"),
    # What lists of documents count by: read from the index alone.
    Index("ix_document_facts", "state", "stage", "reason", "language", "source", "licence", "harvest_id",
          "lines", "bytes"),
)  # fmt: skip

# Documents that a person wants used whatever stands against them. By path and content, so that it holds
# when the source is read anew.
document_rescue = Table(
    "document_rescue",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("harvest_id", Text, ForeignKey("harvest.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("document_hash", Text, nullable=False),
    Column("stage", Text, nullable=False),  # this and the next two: what was overruled
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("person", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("wanted", Boolean, nullable=False),  # what was said: put it back, or leave it out again
    Column("active", Boolean, nullable=False),  # it is wanted, and nothing was said since
    Index("ix_document_rescue_document_hash", "document_hash"),
)

# The text of a document, secrets replaced, compressed: what a snippet is shown in, and cut from.
document_text = Table(
    "document_text",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("packed", LargeBinary, nullable=False),  # zlib over UTF-8
)

# What documents are compared by: made once from the text above, when a document is judged or first compared.
document_signature = Table(
    "document_signature",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("text_key", LargeBinary, nullable=False),  # the same for texts that differ in line ends only
    Column("grams", Integer, nullable=False),  # distinct token 5-grams
    Column("signature", LargeBinary, nullable=False),  # MinHash of them: 120 x uint32, little-endian
    Column("version", Integer, nullable=False),  # of the rule; one of another version is made anew
)

sample = Table(
    "sample",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),  # import order
    Column("id", Text, nullable=False, unique=True),
    Column("content_hash", Text, nullable=False, index=True),
    Column("instruction", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("response", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("row", Integer),
    Column("name", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("file_hash", Text, index=True),
    Column("file_id", Text),
    Column("seed_id", Text, ForeignKey("seed.id")),
    Column("extra", JSON, nullable=False),
)

# Where each sample is now, in one narrow row: derived from the outcomes of the current runs and kept true in
# the transactions that change them (curation/store/places.py).
sample_place = Table(
    "sample_place",
    metadata,
    Column("seq", Number, ForeignKey("sample.seq"), primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),  # this and the next three: copies, so that lists read no wide rows
    Column("source", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("instruction_chars", Integer, nullable=False),
    Column("response_chars", Integer, nullable=False),
    Column("place", Text, nullable=False),  # new | kept | pending | dropped
    Column("stage", Text),  # where it was dropped, is first pending, or is missing though judged before
    Column("reason", Text),  # of the rejection
    Column("trail", Text, nullable=False),  # a letter a stage: k, p, d, - (not seen), . (never ran)
    # One index counts every combination in one scan; two give the other orders, filters included.
    Index("ix_sample_place_cube", "name", "source", "licence", "method", "trail", "reason"),
    Index("ix_sample_place_response", "response_chars", "seq", "name", "source", "licence", "method",
          "place", "stage", "reason"),
    Index("ix_sample_place_instruction", "instruction_chars", "seq", "name", "source", "licence", "method",
          "place", "stage", "reason"),
)  # fmt: skip

# The words of every sample. Not a table of the schema: each kind of database has its own form of it.
sample_text = table("sample_text", column("rowid"), column("sample_text"))
MAKE_SAMPLE_TEXT = (
    "CREATE VIRTUAL TABLE sample_text USING fts5("
    "instruction, input, response, content='sample', content_rowid='seq', tokenize='unicode61', prefix='3')"
)
event.listen(metadata, "after_create", DDL(MAKE_SAMPLE_TEXT).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]

# Every prompt that was written or used, by what it says.
prompt = Table(
    "prompt",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("method", Text, nullable=False),  # what it is for: oss-instruct, judge
    Column("name", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("repair", Text, nullable=False),
    Column("at", Text, nullable=False),
)

# Which prompt a method uses: the newest row of a method counts.
prompt_choice = Table(
    "prompt_choice",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("method", Text, nullable=False),
    Column("prompt_hash", Text, ForeignKey("prompt.hash"), nullable=False),
    Column("person", Text, nullable=False),
    Column("at", Text, nullable=False),
)

# One way of asking a teacher: method, model, endpoint, prompt and parameters. Its items grow, it stays.
generation = Table(
    "generation",
    metadata,
    Column("id", Text, primary_key=True),  # digest of the settings
    Column("method", Text, nullable=False),
    Column("name", Text, nullable=False),  # label of the samples it makes
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),  # base URL; never a key
    Column("prompt_hash", Text, ForeignKey("prompt.hash"), nullable=False),
    Column("settings", JSON, nullable=False),
    Column("paused", Text),  # why it stands still, for people; None: it does not
    Column("created_at", Text, nullable=False),
    Column("worked_at", Text),
)

# One thing wanted of a generation, and what became of it.
generation_item = Table(
    "generation_item",
    metadata,
    Column("generation_id", Text, ForeignKey("generation.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # order in which they were wanted
    # Id of the seed, of the sample that is judged, or of the step of an evolution.
    Column("subject", Text, nullable=False, index=True),
    Column("draw", Integer, nullable=False),
    Column("call_id", Text, nullable=False, index=True),
    Column("repair_id", Text),  # the call that asked for the same answer in the right form
    Column("state", Text, nullable=False),  # waiting | kept | rejected | failed
    Column("reason", Text),
    Column("evidence", JSON, nullable=False),
    Column("flags", JSON, nullable=False),  # {kind: n} of what a person should look at
    Column("sample_id", Text),  # what was made of it
    Column("parser", Text),  # version of the parser that decided
    UniqueConstraint("generation_id", "subject", "draw"),
    Index("ix_generation_item_state", "generation_id", "state", "reason"),
)

# Every call to a teacher: written before it is sent, completed with what came back.
teacher_call = Table(
    "teacher_call",
    metadata,
    Column("id", Text, primary_key=True),  # hash of endpoint, model, messages, parameters and draw
    Column("generation_id", Text, ForeignKey("generation.id"), nullable=False),  # who pays for it
    Column("state", Text, nullable=False),  # sent | done | failed | lost (sent, and nobody knows the reply)
    Column("draw", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),  # base URL; never a key
    Column("prompt_hash", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),  # zlib over JSON: messages and parameters
    Column("reply", LargeBinary),  # zlib over the body as it came
    Column("reason", Text),
    Column("message", Text),  # of a failed one, for people; never a key
    Column("finish_reason", Text),
    Column("worst_in", Integer, nullable=False),  # tokens that an attempt can cost at most
    Column("worst_out", Integer, nullable=False),
    Column("tokens_in", Integer, nullable=False),
    Column("tokens_out", Integer, nullable=False),
    Column("tokens_cached", Integer, nullable=False),
    Column("lost_in", Integer, nullable=False),  # worst case of attempts whose reply never came
    Column("lost_out", Integer, nullable=False),
    Column("is_guessed", Boolean, nullable=False),  # the reply named no usage: tokens are an upper bound
    Column("seconds", Float),  # of the attempt that was answered
    Column("sent_at", Text, nullable=False),
    Column("answered_at", Text),
    Index("ix_teacher_call_generation_id_state", "generation_id", "state"),
)

# Calls that went to a teacher's batch API together. Written before anything of it is sent.
teacher_batch = Table(
    "teacher_batch",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order in which they were made
    Column("name", Text, nullable=False, unique=True),  # ours, by chance; the teacher holds it as metadata
    Column("id", Text),  # the teacher's
    Column("generation_id", Text, ForeignKey("generation.id"), nullable=False, index=True),
    Column("state", Text, nullable=False),  # written | uploaded | created, then how it ended: see batches.py
    Column("file_id", Text),  # of its requests, at the teacher
    Column("calls", Integer, nullable=False),
    Column("report", JSON, nullable=False),  # {what: n} of the lines that came back
    Column("message", Text),  # why it did not end well, for people; never a key
    Column("created_at", Text, nullable=False),
    Column("ended_at", Text),  # NULL: it lives, and its calls are sent to nobody else
)

teacher_batch_call = Table(
    "teacher_batch_call",
    metadata,
    Column("batch", Text, ForeignKey("teacher_batch.name"), primary_key=True),
    Column("call_id", Text, primary_key=True, index=True),
    Column("position", Integer, nullable=False),  # of the item that it answers
    sqlite_with_rowid=False,
)

# What a judge said of a sample. The newest of a sample counts.
judgement = Table(
    "judgement",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("seq", Number, ForeignKey("sample.seq"), nullable=False, index=True),
    Column("call_id", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("prompt_hash", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("difficulty", Float),
    Column("reason", Text, nullable=False),
)

# One way of evolving a set: teacher, prompts, parameters, heuristics, checks. Its steps grow, it stays.
evolution = Table(
    "evolution",
    metadata,
    Column("id", Text, primary_key=True),  # digest of the settings
    Column("name", Text, nullable=False),  # label of the samples it makes
    Column("parents", Text),  # the set that was evolved; NULL: every sample
    Column("kind", Text, nullable=False),  # evolved | preview (makes no samples) | imported
    Column("model", Text, nullable=False),  # "" where nobody knows
    Column("settings", JSON, nullable=False),
    Column("paused", Text),  # why it stands still, for people; NULL: it does not
    Column("created_at", Text, nullable=False),
    Column("worked_at", Text, nullable=False),
)

# One attempt to evolve a task: an edge of the family tree, whether or not it bore a sample.
evolution_step = Table(
    "evolution_step",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("evolution_id", Text, ForeignKey("evolution.id"), nullable=False),
    # The sample that the tree grows from, and the one that was rewritten; of an imported row whose parent was
    # not recognised the row itself, and NULL.
    Column("root", Number, ForeignKey("sample.seq"), nullable=False),
    Column("parent", Number, ForeignKey("sample.seq"), index=True),
    Column("round", Integer, nullable=False),  # from 1
    Column("redo", Integer, nullable=False),  # 0: the first attempt of this round
    Column("heuristic", Text),  # NULL: nobody knows
    Column("phase", Text, nullable=False),  # what it waits for, or was decided in: rewrite | compare | answer
    Column("state", Text, nullable=False),  # waiting | kept | rejected | failed
    Column("rule", Text),  # of a rejected or failed one
    Column("evidence", JSON, nullable=False),
    Column("overruled", JSON, nullable=False),  # rules that a person set aside for this step
    Column("task", Text),  # as it was rewritten; NULL before
    Column("rewrite_call", Text),
    Column("compare_call", Text),
    Column("answer_call", Text),
    Column("child", Number, ForeignKey("sample.seq"), index=True),  # the sample that was made
    # Words of the task that was rewritten (NULL: not known), of the new one and of its answer.
    Column("words_before", Integer),
    Column("words", Integer),
    Column("answer_words", Integer),
    Column("parent_cosine", Float),  # of the two tasks; NULL: not measured
    # Of the replies that counted, and how many they were. What was paid in all is summed over the calls.
    Column("tokens_in", Integer, nullable=False),
    Column("tokens_out", Integer, nullable=False),
    Column("replies", Integer, nullable=False),
    Column("cut", Text),  # pruned | redone (another attempt stands in its place); NULL: it is alive
    Column("cut_by", Text),
    Index("ix_evolution_step_tree", "evolution_id", "root", "round", "redo"),
    # What rounds are counted by: read from the index alone.
    Index("ix_evolution_step_counts", "evolution_id", "round", "state", "heuristic", "rule", "cut", "phase",
          "root"),
)  # fmt: skip

# What a model trained on the rounds so far scored on a held-out set. The newest of a round counts.
evolution_score = Table(
    "evolution_score",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("evolution_id", Text, ForeignKey("evolution.id"), nullable=False, index=True),
    Column("round", Integer, nullable=False),  # 0: the seed set alone
    Column("benchmark", Text, nullable=False),
    Column("score", Float),  # percent; NULL: taken back
    Column("person", Text, nullable=False),
    Column("at", Text, nullable=False),
)

# What a person said of a sample before any stage: the newest row of a sample counts.
sample_word = Table(
    "sample_word",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("seq", Number, ForeignKey("sample.seq"), nullable=False, index=True),
    Column("word", Text, nullable=False),  # accept | reject | none (taken back)
    Column("person", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Text, nullable=False),
)

stage_run = Table(
    "stage_run",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("stage", Text, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("input_hash", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("state", Text, nullable=False),  # running | done | failed | cancelled | interrupted
    Column("is_current", Boolean, nullable=False),
    Column("report", JSON, nullable=False),
    Column("message", Text),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
    Column("progress_what", Text),
    Column("progress_done", Integer),
    Column("progress_total", Integer),
    Index("ix_stage_run_stage_is_current", "stage", "is_current"),
)

stage_lock = Table(
    "stage_lock",
    metadata,
    Column("stage", Text, primary_key=True),
    Column("run_id", Integer, ForeignKey("stage_run.id"), nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),  # tells a reused pid from its first owner
)

outcome = Table(
    "outcome",
    metadata,
    Column("run_id", Integer, ForeignKey("stage_run.id"), primary_key=True),
    Column("seq", Number, ForeignKey("sample.seq"), primary_key=True),
    Column("state", Text, nullable=False),  # kept | dropped | pending
    Column("position", Number, nullable=False),  # order of the row from this stage on
    Column("cluster", Integer),  # near-duplicates: the connected component; NULL when alone
    Index("ix_outcome_run_id_state", "run_id", "state"),
    sqlite_with_rowid=False,
)

rejection = Table(
    "rejection",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", Integer, ForeignKey("stage_run.id"), nullable=False),
    Column("seq", Number, ForeignKey("sample.seq"), index=True),
    Column("file_hash", Text),  # import: the file of a row that never became a sample
    Column("row", Integer),
    Column("line", Integer),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Index("ix_rejection_run_id_seq", "run_id", "seq"),
    Index("ix_rejection_run_id_reason", "run_id", "reason"),
    Index("ix_rejection_file_hash_row", "file_hash", "row"),
    Index("ix_rejection_file_hash_reason", "file_hash", "reason"),
)

near_duplicate_pair = Table(
    "near_duplicate_pair",
    metadata,
    Column("run_id", Integer, ForeignKey("stage_run.id"), primary_key=True),
    Column("left_seq", Number, ForeignKey("sample.seq"), primary_key=True),
    Column("right_seq", Number, ForeignKey("sample.seq"), primary_key=True),
    Column("cosine", Float, nullable=False),
    Column("response_cosine", Float),
    Column("decision", Text, nullable=False),  # drop | ask | over budget | a settled verdict
    Column("item_id", Text),
    Index("ix_near_duplicate_pair_run_id_right_seq", "run_id", "right_seq"),
    Index("ix_near_duplicate_pair_run_id_decision_cosine", "run_id", "decision", "cosine"),
    sqlite_with_rowid=False,
)

benchmark = Table(
    "benchmark",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sha256", Text, nullable=False),  # pinned at first load
    Column("revision", Text),
    Column("origin", Text, nullable=False),
    Column("items", Integer, nullable=False),
    Column("verified", Boolean, nullable=False),  # equals a hash that Winnow ships
    Column("loaded_at", Text, nullable=False),
)

benchmark_item = Table(
    "benchmark_item",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("benchmark", Text, ForeignKey("benchmark.name"), nullable=False),
    Column("item", Text, nullable=False),
    Column("problem", Text, nullable=False),
    Column("solution", Text, nullable=False),
    Column("problem_string", Text, nullable=False),
    Column("solution_string", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    UniqueConstraint("benchmark", "item"),
)

contamination_match = Table(
    "contamination_match",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", Integer, ForeignKey("stage_run.id"), nullable=False),
    Column("seq", Number, ForeignKey("sample.seq"), nullable=False),
    Column("benchmark_item_id", Integer, ForeignKey("benchmark_item.id"), nullable=False),
    Column("detector", Text, nullable=False),  # substring | cosine | joint
    Column("score", Float, nullable=False),
    Column("side", Text, nullable=False),  # problem | solution: what of the item was met
    Column("decision", Text, nullable=False),  # of the row: drop | ask | over budget | keep
    Column("evidence", JSON, nullable=False),
    Index("ix_contamination_match_run_id_seq", "run_id", "seq"),
    Index("ix_contamination_match_run_id_detector_score", "run_id", "detector", "score"),
)

review_item = Table(
    "review_item",
    metadata,
    Column("id", Text, primary_key=True),  # hash of the kind and of the contents asked about
    Column("kind", Text, nullable=False),  # near-duplicates | decontaminate
    Column("version", Integer, nullable=False),
    Column("evidence_hash", Text, nullable=False),
    Column("subject", JSON, nullable=False),  # content hashes: what a verdict is remembered by
    Column("evidence", JSON, nullable=False),
    Column("run_id", Integer, ForeignKey("stage_run.id"), nullable=False),
    Column("left_seq", Number, ForeignKey("sample.seq"), nullable=False),
    Column("right_seq", Number, ForeignKey("sample.seq")),
    Column("priority", Integer, nullable=False),  # 0 = most uncertain
    Column("asked", Boolean, nullable=False),  # by the current run of its stage
    Index("ix_review_item_kind_asked", "kind", "asked"),
    Index("ix_review_item_left_seq", "left_seq"),
)

vote = Table(
    "vote",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("client_id", Text, nullable=False, unique=True),
    Column("item_id", Text, nullable=False, index=True),
    Column("item_version", Integer, nullable=False),
    Column("verdict", Text, nullable=False),  # "undo" takes back `undoes`
    Column("person", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", JSON, nullable=False),  # content hashes as they were when voted
    Column("undoes", Integer, ForeignKey("vote.id")),
)

rescue = Table(
    "rescue",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("seq", Number, ForeignKey("sample.seq"), nullable=False),
    Column("stage", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("active", Boolean, nullable=False),  # the newest row of a sample and stage counts
)

dataset_version = Table(
    "dataset_version",
    metadata,
    Column("name", Text, primary_key=True),
    Column("run_id", Integer, ForeignKey("stage_run.id"), nullable=False),
    Column("sha256", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("manifest", JSON, nullable=False),
    Column("created_at", Text, nullable=False),
)
