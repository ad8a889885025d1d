"""Section 5: numbers, templates and YAML without bounds."""

from __future__ import annotations

from collections.abc import Callable

from defect_kinds.job import Job, Kind, good_rows, keeps
from defect_kinds.models import changed_model, with_a_nan


def override(*texts: str) -> Callable[[Job], list[str]]:
    return lambda job: job.prepare(job.csv(good_rows()), *texts)


def yaml(text: str, *overrides: str) -> Callable[[Job], list[str]]:
    """More lines in a recipe that is right without them."""
    head = "data: {source: ROWS, task: classify}\noutput_dir: RUN\n"
    return lambda job: job.recipe(head + text, *overrides)


def bare_yaml(text: str) -> Callable[[Job], list[str]]:
    return lambda job: job.recipe(text)


def template(text: str) -> Callable[[Job], list[str]]:
    def inject(job: Job) -> list[str]:
        path = job.csv(good_rows())
        return job.prepare(path, f"data.template={text}", task="")

    return inject


def chat_template(text: str) -> Callable[[Job], list[str]]:
    def inject(job: Job) -> list[str]:
        path = job.write("chat.jinja", text)
        return job.prepare(job.csv(good_rows()), f"chat_template={path}")

    return inject


def no_labels(share: float) -> Callable[[Job], list[str]]:
    """The last of the rows have no label."""

    def inject(job: Job) -> list[str]:
        rows = good_rows(200)
        for row in rows[round(200 * (1 - share)) :]:
            row["label"] = ""
        return job.prepare(job.csv(rows))

    return inject


def rate_of_ten(job: Job) -> list[str]:
    return job.whole_run(
        job.csv(good_rows()),
        "train.learning_rate=10", "train.max_grad_norm=0", "train.num_train_epochs=200",
        "train.warmup_ratio=0", "train.train_batch_size=4",
    )  # fmt: skip


LOOP = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"
ANSWER = " ||| {{label}}"
TURNS = "{% for m in messages %}{{ m.content }}{% endfor %}"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
SUBCLASSES = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
KINDS = [
    *(
        Kind("5", f"recipe: {text}", override(text), words)
        for text, words in (
            ("train.learning_rate=.inf", r"train\.learning_rate = inf"),
            ("train.learning_rate=.nan", r"train\.learning_rate = nan"),
            ("train.learning_rate=0", r"train\.learning_rate = 0"),
            ("train.learning_rate=true", r"train\.learning_rate = True.*not true or false"),
            ("train.num_train_epochs=true", r"train\.num_train_epochs = True.*not true or false"),
            ("train.num_train_epochs=1000000000000", r"train\.num_train_epochs = 1000000000000"),
            ("train.adam_epsilon=-1", r"train\.adam_epsilon = -1"),
            ("train.adam_beta2=1.0", r"train\.adam_beta2 = 1"),
            ("train.seed=" + "9" * 40, r"train\.seed = 9{40}"),
            ("train.train_batch_size=0", r"train\.train_batch_size = 0"),
            ("evaluation.resamples=0", r"evaluation\.resamples = 0"),
            ("evaluation.confidence=1", r"evaluation\.confidence = 1"),
            ("data.split.train=0.9", r"0\.9.*\n|add up"),
            ("train.lora={r: 1000000000}", r"train\.lora"),
            ("train.lora={r: 60000}", r"60,?000"),
            ("train.lora={target_modules: [q_prj]}", r"q_prj"),
            ("data.max_rejected=2", r"data\.max_rejected = 2"),
        )
    ),
    Kind("5", "a key with a typing error", override("train.learning_rte=1e-4"),
         r"unknown key 'train\.learning_rte'\nhint: did you mean 'learning_rate'"),
    Kind("5", "a key twice in YAML", yaml("train: {seed: 1, seed: 2}\n"),
         r"the key 'seed' is given twice, in lines? 3"),
    Kind("5", "a key and another tool's name for it", yaml("train: {learning_rate: 1e-4, lr: 1}\n"),
         "given twice"),
    Kind("5", "a metric that does not exist", override("evaluation.metrics=[acuracy]"),
         "acuracy.*(?s:.)*accuracy"),
    Kind("5", "a metric that cannot judge the answers", override("evaluation.metrics=[bleu]"),
         r"bleu"),
    Kind("5", "YAML: aliases of aliases", bare_yaml(BOMB), "more than 100,000 values"),
    Kind("5", "YAML: an alias in itself", bare_yaml("a: &a [*a]\n"), "inside what it names"),
    Kind("5", "YAML: 9,000 lists in each other", bare_yaml("[" * 9000), "nested deeper than 50"),
    Kind("5", "YAML: a Python object", bare_yaml("!!python/object/apply:os.system [ls]\n"),
         "could not determine a constructor"),
    Kind("5", "template: loops in loops", template(LOOP + "{{text}}" + ANSWER), "budget|too"),
    Kind("5", "template: 'a' * 10 ** 10", template("{{ 'a' * 10 ** 10 }}{{text}}" + ANSWER),
         "budget|too|characters"),
    Kind("5", "template: center(10 ** 10)", template("{{ 'a'.center(10 ** 10) }}{{text}}" + ANSWER),
         "budget|too|characters"),
    Kind("5", "template: a macro that calls itself",
         template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}{{text}}" + ANSWER), "."),
    Kind("5", "template: reaches for Python's classes", template(SUBCLASSES + "{{text}}" + ANSWER),
         "."),
    Kind("5", "template: a column that is not there", template("{{txt}}" + ANSWER), "'?text'?"),
    Kind("5", "template: no answer", template("{{text}}"), r"\|\|\|"),
    Kind("5", "template: an endless block", template("{% for x in text %}{{text}}" + ANSWER), "."),
    Kind("5", "chat template: loops in loops", chat_template(LOOP + TURNS), "."),
    Kind("5", "chat template: 'a' * 10 ** 10", chat_template("{{ 'a' * 10 ** 10 }}" + TURNS), "."),
    Kind("5", "a tenth of the rows without a label", no_labels(0.1),
         r"20 of 200 rows rejected \(10\.0%\), data\.max_rejected is 1\.0%"),
    Kind("5", "one row of two hundred without a label", no_labels(0.005), r"(?i)rejected.*1", 0,
         keeps(199)),
    Kind("5", "a NaN in the base model's weights", changed_model(with_a_nan), r"(?i)nan"),
    Kind("5", "a loss that is not finite: a rate of 10, unclipped", rate_of_ten,
         r"(?s)loss.*hint: (?!.*learning_rate=(inf|0\b))", 1),
]  # fmt: skip
