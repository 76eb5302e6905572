"""Every metric of texts under the name that a task calls it by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from chatwright.curate.words import count_words
from chatwright.errors import UsageError
from chatwright.evaluate.metrics import corpus, diversity, modelled, overlap, readability
from chatwright.evaluate.metrics.answers import Answer, Columns, TextMetric, best_of, mean_of
from chatwright.evaluate.metrics.cider import cider
from chatwright.evaluate.metrics.citations import CitationScore, citation_score
from chatwright.evaluate.metrics.meteor import meteor, meteor_with_synonyms
from chatwright.evaluate.refusal import declines_request, is_refusal
from chatwright.evaluate.results import BY_NAME, Metric
from chatwright.evaluate.statistics import STATISTICS
from chatwright.records.grounding import cited_numbers

STATISTICS.update(
    bleu=corpus.bleu,
    chrf=corpus.chrf,
    flesch_reading_ease=readability.reading_ease,
    flesch_kincaid_grade=readability.kincaid_grade,
)

# A model may cite up to this number; what it was not shown counts as a wrong citation.
_MOST_CITED = 99
_TOXIC = 0.5

Score = Callable[[Sequence[Answer]], list[Columns]]


def _citation(
    part: Callable[[CitationScore], float], *, cites: bool = False, shown: bool = False
) -> Score:
    """A mean over answers that were shown passages and whose question has a gold one.

    With `cites` over those of them that cite any passage, with `shown` over those that were shown a
    gold one.
    """

    def value(answer: Answer) -> float | None:
        if not answer.passages or not answer.gold:
            return None
        numbers = cited_numbers(answer.text, _MOST_CITED)
        if (cites and not numbers) or (shown and not set(answer.gold) & set(answer.passages)):
            return None
        return part(citation_score(numbers, answer.passages, answer.gold))

    return mean_of(value)


def _words(answer: Answer) -> float:
    return float(count_words(answer.prose))


def _refuses(answer: Answer) -> float:
    return float(is_refusal(answer.text) or declines_request(answer.text))


_ALL: tuple[TextMetric, ...] = (
    TextMetric(BY_NAME["exact_match"], best_of(overlap.exact_match)),
    TextMetric(BY_NAME["token_f1"], best_of(overlap.token_f1)),
    TextMetric(
        Metric(
            "bleu",
            "BLEU",
            "higher",
            "number",
            "n-grams shared with the references, of the whole set (sacrebleu; 0–100)",
            "bleu",
        ),
        corpus.bleu_counts,
    ),
    TextMetric(
        Metric(
            "chrf",
            "chrF",
            "higher",
            "number",
            "character n-grams shared with the references, of the whole set (sacrebleu; 0–100)",
            "chrf",
        ),
        corpus.chrf_counts(words=0),
    ),
    TextMetric(
        Metric(
            "chrf++",
            "chrF++",
            "higher",
            "number",
            "chrF with single words and pairs (sacrebleu; 0–100)",
            "chrf",
        ),
        corpus.chrf_counts(words=2),
    ),
    TextMetric(
        Metric(
            "rouge_1",
            "ROUGE-1",
            "higher",
            "share",
            "words shared with the reference (Chinese: characters)",
        ),
        best_of(overlap.rouge_1),
    ),
    TextMetric(
        Metric(
            "rouge_2",
            "ROUGE-2",
            "higher",
            "share",
            "pairs of words shared with the reference (Chinese: of characters)",
        ),
        best_of(overlap.rouge_2),
    ),
    TextMetric(BY_NAME["rouge_l"], best_of(overlap.rouge_l)),
    TextMetric(
        Metric(
            "rouge_1_words",
            "ROUGE-1, words",
            "higher",
            "share",
            "words shared with the reference; Chinese by words of a dictionary",
        ),
        best_of(lambda a, r: overlap.rouge_1(a, r, words=True)),
    ),
    TextMetric(
        Metric(
            "rouge_2_words",
            "ROUGE-2, words",
            "higher",
            "share",
            "pairs of words shared with the reference; Chinese by words of a dictionary",
        ),
        best_of(lambda a, r: overlap.rouge_2(a, r, words=True)),
    ),
    TextMetric(
        Metric(
            "rouge_l_words",
            "ROUGE-L, words",
            "higher",
            "share",
            "longest common run of words, in order; Chinese by words of a dictionary",
        ),
        best_of(lambda a, r: overlap.rouge_l(a, r, words=True)),
    ),
    TextMetric(
        Metric(
            "meteor",
            "METEOR",
            "higher",
            "share",
            "words aligned with the reference, exactly or by stem, in order (nltk, no synonyms)",
        ),
        best_of(meteor),
    ),
    TextMetric(
        Metric(
            "meteor_wordnet",
            "METEOR with synonyms",
            "higher",
            "share",
            "words aligned with the reference, exactly, by stem or as synonyms (nltk, WordNet)",
        ),
        meteor_with_synonyms,
    ),
    TextMetric(
        Metric(
            "cider",
            "CIDEr",
            "higher",
            "number",
            "likeness to all references, rare n-grams counting most (0–10)",
        ),
        cider(clipped=False),
    ),
    TextMetric(
        Metric(
            "cider_d",
            "CIDEr-D",
            "higher",
            "number",
            "CIDEr made hard to game by repetition and length, as COCO reports it (0–10)",
        ),
        cider(clipped=True),
    ),
    TextMetric(
        Metric(
            "relatedness",
            "Semantic relatedness",
            "higher",
            "number",
            "cosine of the meanings of answer and nearest reference (multilingual-e5-small)",
        ),
        modelled.relatedness,
    ),
    *(
        TextMetric(
            Metric(
                f"distinct_{n}",
                f"Distinct-{n}",
                "higher",
                "share",
                f"of all answers' {what} are different ones",
            ),
            diversity.distinct(n),
        )
        for n, what in ((1, "words"), (2, "pairs of words"), (3, "triples of words"))
    ),
    TextMetric(
        Metric(
            "self_bleu",
            "Self-BLEU",
            "lower",
            "share",
            "how alike the answers are: BLEU of each against all others",
        ),
        diversity.self_bleu,
    ),
    TextMetric(
        Metric(
            "repetition",
            "Repetition",
            "lower",
            "share",
            "of an answer's words stand in a run of four that it has more than once",
        ),
        mean_of(diversity.repetition),
    ),
    *(
        TextMetric(
            Metric(
                f"rep_{n}",
                f"rep-{n}",
                "lower",
                "share",
                f"of an answer's runs of {n} words say again what it has said",
            ),
            mean_of(diversity.repeated(n)),
        )
        for n in (2, 3, 4)
    ),
    TextMetric(
        Metric(
            "longest_repeat",
            "Longest repeat",
            "lower",
            "number",
            "words of the longest run that an answer has twice",
        ),
        mean_of(diversity.longest_repeat),
    ),
    TextMetric(
        Metric(
            "flesch_reading_ease",
            "Flesch reading ease",
            "neither",
            "number",
            "of the English answers as one text: 100 very easy, 30 hard",
            "flesch_reading_ease",
        ),
        readability.english_counts,
    ),
    TextMetric(
        Metric(
            "flesch_kincaid_grade",
            "Flesch–Kincaid grade",
            "neither",
            "number",
            "years of school that the English answers ask for",
            "flesch_kincaid_grade",
        ),
        readability.english_counts,
    ),
    TextMetric(
        Metric(
            "sentence_length_zh",
            "Sentence length (zh)",
            "neither",
            "number",
            "Han characters in a sentence of the Chinese answers",
        ),
        readability.chinese_sentence_counts,
    ),
    TextMetric(
        Metric(
            "common_characters_zh",
            "Common characters (zh)",
            "neither",
            "share",
            "of the Chinese answers' Han characters are ones that schools teach first",
        ),
        readability.common_character_counts,
    ),
    TextMetric(
        Metric(
            "toxicity", "Toxicity", "lower", "share", "mean probability that an answer is offensive"
        ),
        modelled.toxicity_of(),
    ),
    TextMetric(
        Metric(
            "toxic",
            "Toxic answers",
            "lower",
            "share",
            "answers that are more likely offensive than not",
        ),
        modelled.toxicity_of(_TOXIC),
    ),
    TextMetric(BY_NAME["citation_any"], _citation(lambda s: s.any)),
    TextMetric(BY_NAME["citation_right"], _citation(lambda s: s.right)),
    TextMetric(
        Metric(
            "citation_precision",
            "Citation precision",
            "higher",
            "share",
            "of an answer's citations name a passage that holds the answer; over answers that cite",
        ),
        _citation(lambda s: s.precision, cites=True),
    ),
    TextMetric(
        Metric(
            "citation_recall",
            "Citation recall",
            "higher",
            "share",
            "of the passages shown that hold the answer are cited",
        ),
        _citation(lambda s: s.recall, shown=True),
    ),
    TextMetric(
        Metric(
            "refusal", "Refusal", "neither", "share", "answers that say there is none, or decline"
        ),
        mean_of(_refuses),
    ),
    TextMetric(BY_NAME["words"], mean_of(_words)),
)
TEXT_METRICS: dict[str, TextMetric] = {one.metric.name: one for one in _ALL}


def text_metric(name: str) -> TextMetric:
    """The metric of that name. Raises `UsageError` for a name that there is not."""
    found = TEXT_METRICS.get(name)
    if found is None:
        near = get_close_matches(name, TEXT_METRICS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(TEXT_METRICS)}"
        raise UsageError(f"there is no metric called {name!r}", hint=hint)
    return found
