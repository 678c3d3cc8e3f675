"""The phrases that curation/instruction_flags.py looks for, one rule a way of steering.

They are what published attacks on models have in common (orders to leave what came before, new roles, turns
of a chat that never was) and what a generated sample might say to a judge, a reviewer or a model trained on
it. A phrase that ordinary problems need is taken only with the words that make it an order: "the system
prompt of a shell", "ignore previous values" and "rate a product 5/5" are none.

A phrase is looked for only near a rare word that it cannot do without, and every gap in it is bounded, so
that time grows with the length of the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

REACH = 250  # characters on both sides of the rare word; phrases are shorter
GAP = r"\W{1,12}"  # between words: a space, or a line's end and the comment sign of the next line


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to steer."""

    kind: str
    near: tuple[str, ...]  # rare words in lower case; every phrase holds one
    phrase: re.Pattern[str]
    exact: bool = False  # capitals count: the phrase is looked for in the text before it becomes lower case

    def spans(self, text: str, lower: str) -> Iterator[tuple[int, int]]:
        """Give begin and end of each phrase in a text, which is also given in lower case."""
        looked_at = text if self.exact else lower
        for start, end in _stretches(lower, self.near):
            for match in self.phrase.finditer(looked_at, start, end):
                yield match.span()


def _stretches(text: str, near: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Give the parts of a text that lie near one of these words; no two overlap."""
    around = []
    for word in near:
        at = text.find(word)
        while at >= 0:
            # A text full of the word is passed in long steps: from one to the last within its reach.
            last = text.rfind(word, at, at + REACH + len(word))
            around.append((at - REACH, last + len(word) + REACH))
            at = text.find(word, last + 1)
    start, end = 0, 0
    for first, beyond in sorted(around):
        if first > end:
            yield start, end
            start = first
        end = max(end, beyond)
    yield max(0, start), min(end, len(text))


def words(kind: str, near: str, *phrase: str) -> Rule:
    """Make a rule of whole words: a space is any gap, and `~3 ` stands for up to three words of any kind.

    `near` has its words parted by |; the parts of the phrase are joined.
    """
    spaced = re.sub(r"~(\d) ", r"(?:\\w{1,20} ){0,\1}", "".join(phrase)).replace(" ", GAP)
    return Rule(kind, tuple(near.split("|")), re.compile(rf"(?<!\w)(?:{spaced})(?!\w)"))


def signs(kind: str, near: str, *phrase: str, exact: bool = False) -> Rule:
    """Make a rule that is written out; ^ is the begin of any line."""
    return Rule(kind, tuple(near.split("|")), re.compile("".join(phrase), re.MULTILINE), exact)


# --- words that rules share ---

IGNORE = (
    r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|override|overrule|bypass|discard|dismiss|"
    r"neglect|skip|drop|set aside|do not (?:follow|obey)|don't (?:follow|obey)|stop (?:following|obeying)|"
    r"pay no attention to)"
)
EARLIER = r"(?:previous|prior|earlier|preceding|foregoing|former|above|original|initial|existing)"
ORDERS = r"(?:instructions?|directions?|directives?|guidelines|prompts?|orders given|system messages?)"
TOLD = r"(?:you (?:were|are|have been|had been|received|got|read|know)|i (?:said|told|wrote)|was said)"
REVEAL = (
    r"(?:reveal|print|show|repeat(?:ing)?|output|paste|disclose|leak|display|tell|write|share|dump|include|"
    r"quote|recite|give|copy|return|expose|summari[sz]e|translate)"
)
NO_RULES = (
    r"(?:safety (?:filters?|guardrails?|guidelines|rules|restrictions)|content (?:filters?|polic(?:y|ies))|"
    r"guardrails|ethical guidelines)"
)
NOT = r"(?:do not|don't|never|must not|mustn't|should not|shouldn't|avoid|without)"
CANNOT = (  # behind "I" and a gap
    r"(?:can't|can not|cannot|won't|will not|a?m unable to|a?m not able to|must decline to)"
)
HUSH = r"(?:mention|reveal|disclose|acknowledge|admit)(?:ing)?"
NOTES = r"(?:instructions?|prompts?|messages?|notes?|lines?|comments?|rules?|paragraphs?|steps?)"
READERS = r"(?:users?|readers?|humans?|reviewers?|operators?|anyone|anybody|judges?)"
THIS = r"(?:this|the above|the following|my|our|these)"
SAMPLE = (
    r"(?:sample|row|text|problem|example|item|pair|data|dataset|entry|answer|solution|question|snippet|code|"
    r"response|reply|submission|task|output)s?"
)
JUDGES = r"(?:graders?|judges?|reviewers?|evaluators?|annotators?|raters?|moderators?|labell?ers?|examiners?)"
JUDGE_WORDS = "grader|judge|reviewer|evaluator|annotator|rater|moderator|labeler|labeller|examiner"
JUDGE_MODEL = r"(?:evaluation|judge|judging|grading|reward|scoring) (?:model|llm|system|ai|assistant)"
DEAR, NOTE_TO = r"(?:dear|attention|hey)", r"(?:note|message) (?:to|for)"
PRAISE = r"(?:maximum|highest|full|perfect|top|best|flawless|excellent)"
MARKS = r"(?:score|grade|rating|marks?|points?)"
BENCHMARK = r"(?:humaneval\+?|mbpp\+?|gsm8k|ds-1000|multipl-e|benchmarks?|test sets?|evaluation sets?)"
MY_RULES = (
    r"(?:my|our|openai's|openai|the usage|usage|content|safety|community|ethical) ~1 "
    r"(?:guidelines|polic(?:y|ies)|principles|programming|terms)"
)
MODEL = r"(?:models?|llms?|assistants?|ai|networks?|you|anyone)"
WORDS_OF_ORDERS = "instruct|direct|guideline|prompt|orders given|system message"

RULES = (
    # Orders to leave what was said before.
    words("override", WORDS_OF_ORDERS, rf"{IGNORE} ~3 {EARLIER} ~2 {ORDERS}"),
    words(
        "override",
        WORDS_OF_ORDERS,
        rf"{IGNORE} ~3 {ORDERS} (?:above|before|so far|given|{TOLD}|that {TOLD}|that (?:came|were|precede))",
    ),
    words("override", WORDS_OF_ORDERS, rf"{IGNORE} (?:(?:all|any) )?(?:of )?your ~2 {ORDERS}"),
    words(
        "override",
        "ignor|disregard|forget|dismiss|discard|neglect",
        rf"{IGNORE} (?:everything|anything|all|whatever|what)(?: that| of what)? {TOLD}",
    ),
    words(
        "override",
        "no longer|void|cancel|obsolete|revoked",
        rf"{EARLIER} (?:{ORDERS}|rules) ~2 "
        r"(?:no longer (?:apply|hold|count|matter)|void|cancell?ed|obsolete|revoked)",
    ),
    words(
        "override",
        "your",
        r"your (?:new|real|actual|only|true) (?:task|goal|job|purpose|objective|instructions?) (?:is|are)",
    ),
    words("override", "new instructions", r"new instructions"),
    # The best known of them in the languages that most of it is written in.
    words(
        "override",
        "anweisung|vorgabe|instruktion",
        r"(?:ignorier\w{0,3}|vergiss|vergessen sie|missachte\w{0,2}) ~5 "
        r"(?:anweisung|vorgabe|instruktion)\w{0,3}",
    ),
    words(
        "override",
        "instructions|consignes",
        r"(?:ignore[rz]?|oublie[rz]?|n\u00e9gligez) ~3 (?:instructions|consignes) ~1 "
        r"(?:pr\u00e9c\u00e9dentes|ant\u00e9rieures|ci)",
    ),
    words(
        "override",
        "instrucciones|instru\u00e7\u00f5es|istruzioni",
        r"(?:ignor[ae]|olvid[ae]|esque\u00e7a|dimentica) ~4 "
        r"(?:instrucciones|instru\u00e7\u00f5es|istruzioni)",
    ),
    words("override", "instructies|aanwijzingen", r"(?:negeer|vergeet) ~3 (?:instructies|aanwijzingen)"),
    signs(  # Chinese and Japanese: ignore or forget, and instructions
        "override",
        "\u6307\u4ee4|\u6307\u793a|\u63d0\u793a",
        "(?:\u5ffd\u7565|\u65e0\u89c6|\u5fd8\u8bb0|\u5ffd\u8996|\u7121\u8996)[^\n]{0,20}"
        "(?:\u6307\u4ee4|\u6307\u793a|\u63d0\u793a)"
        "|(?:\u6307\u4ee4|\u6307\u793a)\u3092(?:\u7121\u8996|\u5fd8\u308c)",
    ),
    # Another role, or one without rules.
    words(
        "new_role",
        "now",
        r"you are now (?:an?|the|my|called|named|known as|free|unrestricted|no longer|acting|playing|dan|"
        r"going to (?:act|be))",
    ),
    words(
        "new_role",
        "from now|from here|from this|henceforth",
        r"(?:from (?:now|here|this (?:point|moment|line)) on(?:wards?)?|henceforth) ~2 you ~1 "
        r"(?:are|act|answer|respond|reply|obey|speak|behave|follow|only|always)",
    ),
    words(
        "new_role",
        "as if|as though",
        r"(?:act|behave|respond|answer|continue|speak|operate) as (?:if|though) your?",
    ),
    words(
        "new_role",
        "unrestricted|uncensored|unfiltered|jailbroken|evil|dan|devmode",
        r"(?:act|respond|answer|continue|operate) as (?:an? )?"
        r"(?:unrestricted|uncensored|unfiltered|jailbroken|evil|dan|devmode\w{0,5})",
    ),
    words("new_role", "pretend", r"pretend (?:to be|that you|you (?:are|have|can|were))"),
    words("new_role", "anything now|dan mode|jailbreak mode", r"do anything now|dan mode|jailbreak mode"),
    words(
        "new_role",
        "safety|content|guardrail|ethical",
        rf"(?:no|without|ignore|disable|bypass|evade|remove|turn off|switch off|free (?:of|from)) ~4 "
        rf"{NO_RULES}",
    ),
    words(
        "new_role",
        "safety|content|guardrail|ethical",
        rf"{NO_RULES} ~2 (?:switched off|turned off|disabled|off|do not apply|don't apply)",
    ),
    # What a model was told where its user does not see it.
    words(
        "system_prompt",
        "system prompt|system message|system instruction",
        r"(?:your|hidden|secret) ~1 system (?:prompt|message|instructions?)",
    ),
    words(
        "system_prompt",
        "you were|you have been|you are|you received|you got|you had|to you",
        rf"{REVEAL} ~4 (?:{ORDERS}|rules|text|messages?|words) (?:(?:that|which) )?"
        r"(?:you (?:were|have been|are|received|got|had)|(?:given|shown) to you)",
    ),
    words(
        "system_prompt",
        "instructions|prompt",
        rf"{REVEAL} (?:me )?(?:all )?(?:of )?your (?:(?:initial|original|hidden|secret|full|own) )?"
        r"(?:instructions|prompt)",
    ),
    words("system_prompt", "what", r"what (?:is|are|were|was) your ~1 (?:system prompt|instructions|prompt)"),
    words(
        "system_prompt",
        "above",
        r"repeat (?:(?:the|all|every) ){0,2}(?:words|text|prompt|conversation) above",
    ),
    # A model that speaks of itself.
    words(
        "model_voice",
        "ai|language model|artificial intelligence",
        r"as an? ~2 (?:ai|artificial intelligence) (?:language )?(?:model|assistant|i|my)",
    ),
    words("model_voice", "language model", r"(?:as|i am|i'm) (?:(?:just|only) )?an? ~2 language model"),
    words(
        "model_voice",
        "i am an|i'm an",
        r"(?:as|since|because) (?:i am|i'm) (?:(?:just|only) )?an? (?:ai|artificial intelligence)",
    ),
    words(
        "model_voice",
        "by openai|by anthropic|by google|by mistral|by deepseek",
        r"(?:trained|developed|created|made|built) by "
        r"(?:openai|anthropic|google deepmind|mistral ai|deepseek)",
    ),
    words(
        "model_voice",
        "cutoff|cut-off|last update",
        r"my ~2 (?:cutoff|cut-off)|knowledge cut-?off|my last update",
    ),
    words(
        "model_voice",
        "access to|ability to",
        r"i (?:do not|don't|cannot|can't) have ~3 (?:access to|ability to) ~3 "
        r"(?:internet|real|current|files?|database|system|computer|web|run|execute|browse)",
    ),
    words(
        "model_voice",
        "personal",
        r"i (?:do not|don't) have personal (?:opinions?|feelings|experiences?|beliefs)",
    ),
    # Turns of a chat that never was.
    signs(
        "role_marker",
        "<|",
        r"<\|/?(?:im_(?:start|end|sep)|end_?of_?(?:text|prompt)|begin_of_text|"
        r"(?:start|end)_header_id|eo[tm]_id|system|user|assistant|end|fim_\w{1,9}|python_tag)\|>",
    ),
    signs("role_marker", "inst]", r"\[INST\](?=[^\n]{0,200}\[/INST\]|\s{0,3}<<SYS)|\[/INST\]", exact=True),
    signs("role_marker", "sys>>|of_turn>", r"<</?sys>>|<(?:start|end)_of_turn>"),
    signs(
        "role_marker",
        "###|@@",
        r"^[ \t>*/#-]{0,12}(?:###|@@) ?(?:instruction|response|human|assistant)(?: ?:|(?=[ \t]{0,9}$))",
    ),
    signs(
        "role_marker",
        "human:|assistant:",
        r"^[ \t>*/#-]{0,12}(?:Human|Assistant|HUMAN|ASSISTANT): ?(?=[^\s=\"'{\[(])[^\n]{0,60}",
        exact=True,
    ),
    # Words for whoever grades or reviews.
    words(
        "judge",
        "rate|score|grade|mark|evaluate|judge|rank",
        rf"(?:rate|score|grade|mark|evaluate|judge|rank) (?:{THIS}|it)(?: {SAMPLE})? ~2 "
        rf"(?:\d{{1,3}} (?:out of )?\d{{1,3}}|five|ten|an? (?:\d|perfect)|{PRAISE}|correct|high(?:ly)?)",
    ),
    words(
        "judge",
        "score|grade|rating|mark|point",
        rf"(?:give|award|assign|grant)(?:ing)? (?:{THIS}|it|me)(?: {SAMPLE})? ~2 "
        rf"{PRAISE} (?:possible )?{MARKS}",
    ),
    words(
        "judge", "deserve|merits", rf"{THIS} {SAMPLE} (?:deserves|merits) ~3 (?:{PRAISE}|\d{{1,3}}|five|ten)"
    ),
    words("judge", JUDGE_WORDS, rf"{DEAR} ~2 {JUDGES}|{NOTE_TO} ~2 {JUDGES}(?=[:,!])"),
    words(
        "judge",
        "dear|attention|hey|note|message",
        rf"{DEAR} ~2 {JUDGE_MODEL}|{NOTE_TO} ~2 {JUDGE_MODEL}(?=[:,!])",
    ),
    words(
        "judge",
        JUDGE_WORDS,
        rf"{JUDGES} ~1 (?:(?:please|you|should|must|may|can|need to|are (?:asked|told) to) ){{1,3}}~1 "
        rf"(?:award|give|approve|accept|rate|score|skip|ignore|mark|label|treat) ~2 "
        rf"(?:{THIS}|the {PRAISE}|{PRAISE})",
    ),
    words("judge", JUDGE_WORDS, rf"{JUDGES} (?:click|press|select|choose|just) (?:accept|approve|yes|pass)"),
    words(
        "judge",
        "evaluating|grading|judging|rating|scoring|reviewing",
        rf"(?:when|if|while) (?:you are )?(?:evaluating|grading|judging|rating|scoring|reviewing) {THIS}",
    ),
    words(
        "judge",
        "needed|necessary|required",
        r"(?:no|without) (?:further|more|additional) (?:evaluation|review|reviewing|judging|grading) "
        r"(?:(?:is|are) )?(?:required|needed|necessary)",
    ),
    words(
        "judge",
        "approve|accept",
        rf"(?:approve|accept) {THIS} (?:sample|row|pair|answer|solution|response|submission) "
        r"(?:without|as it is|as is|now|immediately|at once)",
    ),
    # Words for whoever looks for copies.
    words(
        "contamination",
        "contaminat",
        rf"{THIS} (?:\w{{1,20}} )?(?:is|are|was|were|has|have) ~3 "
        r"(?:(?:not|never) contaminated|uncontaminated|(?:free (?:of|from)|without)(?: any)? contamination)",
    ),
    words(
        "contamination",
        "humaneval|mbpp|gsm8k|ds-1000|multipl-e|benchmark|test set|evaluation set",
        r"(?:absent from|not (?:in|from|part of|taken from|derived from|found in|contained in)|"
        rf"(?:does|do) not (?:overlap(?: with)?|appear in|occur in|come from)|"
        rf"no overlap with) ~2 {BENCHMARK}",
    ),
    words(
        "contamination",
        "contaminated",
        r"(?:mark|label|classify|treat|flag|report|consider)(?:ed|led)? ~4 as "
        r"(?:uncontaminated|decontaminated|not contaminated|non contaminated)",
    ),
    words(
        "contamination",
        "clean|original|novel",
        rf"(?:mark|label|classify|treat|flag|report)(?:ed|led)? {THIS} {SAMPLE} as (?:clean|original|novel)",
    ),
    words(
        "contamination",
        "contamination|dedup|plagiarism",
        r"(?:(?:de)?contamination|(?:de)?duplication|dedup|plagiarism) ~1 "
        r"(?:tools?|checks?|checkers?|filters?|detectors?|stages?|pipelines?) "
        r"(?:may|can|should|must|need not|will) ~1 (?:skip|ignore|pass|exclude|not)",
    ),
    # Requests to keep quiet.
    words(
        "secrecy",
        "tell|inform",
        rf"{NOT} (?:tell|inform|telling|informing) (?:(?:the|any|your) )?{READERS}",
    ),
    words(
        "secrecy",
        "mention|reveal|disclos|acknowledg|admit",
        rf"{NOT} {HUSH} ~1 (?:these|this|those|your|the (?:above|hidden|system)) ~1 {NOTES}",
    ),
    words(
        "secrecy",
        "mention|reveal|disclos|acknowledg|admit",
        rf"{NOT} {HUSH} (?:to ~2 )?that (?:these|this|you|the)",
    ),
    words(
        "secrecy",
        "secret|hidden|confidential|between us",
        rf"keep (?:this|these) {NOTES} (?:secret|hidden|confidential|between us)",
    ),
    # Orders to load and run what somebody else wrote.
    signs(
        "remote_code",
        "curl|wget",
        r"\b(?:curl|wget)\b[^\n|]{0,200}\| ?(?:sudo(?: -\S{1,20}){0,3} )?(?:/\S{1,20}/)?"
        r"(?:(?:ba|z|k|da)?sh|python3?|perl|ruby|node|php)\b",
        r"|(?:\b(?:bash|sh|eval|source)|(?<!\S)\.) [^\n]{0,20}(?:[<$]\(|`)(?:curl|wget)\b",
    ),
    signs(
        "remote_code",
        "iex|invoke-expression",
        r"\b(?:iex|invoke-expression)\b[^\n]{0,120}(?:downloadstring|invoke-webrequest|\biwr https?:)",
        r"|(?:downloadstring|\biwr https?:|invoke-webrequest)[^\n|]{0,200}\| ?(?:iex|invoke-expression)\b",
    ),
    signs(
        "remote_code",
        "requests.get|urllib|urlopen|fetch",
        r"\b(?:exec|eval)\( ?(?:requests\.get|urllib\.request|urlopen|await fetch|fetch)\b",
    ),
    signs(
        "remote_code",
        "http://|https://",
        r"\b(?:visit|fetch|download|open|load|retrieve|read|go to|navigate to|browse to)\W(?:\w{1,20}\W){0,3}"
        r"https?://\S{1,150}\W{1,3}and\W(?:then\W)?"
        r"(?:follow|obey|execute|do (?:what|as|everything)|run (?:it|what))",
    ),
    signs(
        "remote_code",
        "http://|https://",
        r"\b(?:send|post|upload|exfiltrate|transmit|leak|forward|append)\W(?:\w{1,20}\W{1,3}){0,6}"
        r"(?:environment variables|api keys?|credentials|passwords|secrets|\.env|conversation|"
        r"system prompt)\W(?:\w{1,20}\W{1,3}){0,3}https?://",
    ),
    # No answer at all.
    words(
        "refusal",
        "help|assist|comply|fulfil",
        rf"i ?{CANNOT} (?:\w{{1,20}} )?(?:help|assist|comply|fulfill?)(?: you)?"
        r"(?: with| your| this| that| the request|(?=[.,;!]))",
    ),
    words(
        "refusal",
        "provide|generate|create|produce|answer|continue|share|engage",
        rf"i ?{CANNOT} (?:provide|generate|create|produce|answer|continue|share|engage in) ~1 "
        r"(?:this|that|such|an?|the|your) ~1 "
        r"(?:request|solution|answer|problem|question|response|content|code|conversation|information)",
    ),
    words("refusal", "decline|refuse", r"i (?:must|have to|need to) ~1 (?:decline|refuse)"),
    words(
        "refusal",
        "guideline|polic|principle|programming|terms",
        rf"(?:against|violat\w{{1,5}}) ~2 {MY_RULES}",
    ),
    # Words for a model that is trained on the text.
    words(
        "training",
        "trained|tuned",
        rf"{MODEL} ~2 (?:trained|fine-?tuned) (?:on|with) {THIS} {SAMPLE} ~1 "
        r"(?:should|must|will|shall|has to|have to|always|learns?|never)",
    ),
    words(
        "training",
        "training",
        r"(?:used|included|serves?|appears?|seen) (?:as|in|for|during) ~2 training(?: data| set| corpus)? ~1 "
        r"(?:learn|always|must|should|never|respond|answer)",
    ),
    words(
        "training",
        "future",
        r"(?:remember|learn|memori[sz]e) ~3 (?:for|in) (?:(?:all|any) )?future "
        r"(?:conversations?|answers?|responses?|requests?|chats?|users?)",
    ),
    # Our own delimiters (curation/prompt.py), and ends of what was quoted.
    signs(
        "delimiter",
        "seed|sample",
        r"<\s{0,3}/\s{0,3}(?:seed|sample)(?:\s{0,3}>|-)|<\s{0,3}(?:seed|sample)-(?:[0-9a-f]{6}|tag\b)",
    ),
    signs(
        "delimiter",
        "end of",
        r"[-=\[#*<]{1,12} ?end of (?:the )?(?:\w{1,10} )?"
        r"(?:snippet|seed|prompt|context|instructions|user input|system message)\b",
    ),
)

NEAR_WORDS = tuple(dict.fromkeys(word for rule in RULES for word in rule.near))


def rules_near(lower: str) -> Iterator[Rule]:
    """Give the rules of which a text, in lower case, holds a rare word: most texts hold few."""
    there = {word for word in NEAR_WORDS if word in lower}
    return (rule for rule in RULES if not there.isdisjoint(rule.near))
