"""vqa_metric.json: open_flamingo's VQAEval (normalisation as the code runs it) and its post-processing."""
import contextlib
import io
import warnings

warnings.filterwarnings("ignore")

from formula import write_json
from open_flamingo.eval.vqa_metric import VQA, VQAEval, postprocess_vqa_generation

TEXTS = [
    "", " ", "yes", "Yes", "YES.", "no!", " yes ", "the dog", "a", "an", "the", "The A An", "a an the cat", "another", "theory",
    "one", "Two dogs", "ten", "zero", "none", "None of them", "eleven", "someone", "one-way", "twenty one", "10", "1,000", "1,000,000",
    "1, 2", "1,a", "red, blue", "red ,blue", "red,blue", "red , blue", "10,000 people; many", "3.5", "3.5.", "3. 5", ".5", "5.",
    "no. 5", "U.S.A.", "u.s", "a.m.", "10 a.m.", "12:30", "12:30 p.m.", "e.g. this", "...", "wait... what", "v1.2.3", "4.x",
    "dont", "don't", "cant", "Im", "im", "ive", "Ive", "id've", "whats", "its", "it's", "oclock", "5 oclock", "yall'd've", "couldn'tve",
    "ain't", "somebody'd", "'twas", "twas", "let's",
    "red/green", "red / green", "red /green", "yes/no", "(left)", "left (side)", "[a]", "{x}", "x=y", "x = y", "1+1", "1 + 1", "back\\slash",
    "under_score", "well-known", "well - known", "well- known", "<image>", "a>b", "me@home", "`quoted`", "\"quoted\"", "what?", "what ?",
    "?", "!?", "-", "--", "- -", ";", "semi;colon", "semi; colon", "semi ;colon", "dollar $5", "50%", "#1", "a&b", "star*", "colon: x",
    "tab\there", "new\nline", "\n yes \t", "two  spaces", "carriage\rreturn", "no\u00a0break", "thin\u2009space", "em\u2014dash", "\u201cquoted\u201d",
    "caf\u00e9", "CAF\u00c9", "\u0130stanbul", "STRASSE \u00df", "\u4e8c\u3064\u306e\u72ac", "\u0663,\u0664", "x\u00b2", "\U0001f600", "\u1e9e", "\u03a3\u0391\u03a3",
    "a,b 1,2", "1,2 a-b", "1,2-3", "a. b. c. d", "." * 40, "x." * 40, "1.2,3", "1,2.3", "the 1,000 men", "one, two, three", "an hour and a half",
    "Question", "the the", "a-an-the", "no\x0bvertical", "no\x0cform", "no\x1cfile", "no\x85next", "no\u3000ideographic",
]

GENERATIONS = [
    "yes", " yes", "yes, it is", "yes,it is", "two Question: what", "two\nQuestion:what Short answer: no", "red Answer: blue", "Short answer: red",
    "a Shorter one", "questions", "red, Question", "Question", "", ", red", "red,", "red, ", "Short, Answer", "no Short answer", "AnswerQuestion", "left, right, up",
]

ROWS = [  # prediction, ten answers
    ("yes", ["yes"] * 10), ("no", ["yes"] * 10), ("yes", ["yes"] * 5 + ["no"] * 5), ("no", ["yes"] * 9 + ["no"]),
    ("no", ["yes"] * 8 + ["no"] * 2), ("no", ["yes"] * 7 + ["no"] * 3), ("no", ["yes"] * 6 + ["no"] * 4), ("maybe", ["yes"] * 5 + ["no"] * 5),
    ("Two", ["2"] * 10), ("2", ["two"] * 4 + ["Two."] * 3 + ["2"] * 3), ("none", ["0"] * 3 + ["zero"] * 3 + ["None"] * 4),
    ("the dog", ["dog"] * 2 + ["a dog"] * 2 + ["Dog!"] * 2 + ["cat"] * 4), ("dog ", ["dog\n"] * 3 + ["cat"] * 7),
    ("1,000", ["1000"] * 3 + ["1,000"] * 3 + ["1 000"] * 4), ("red/green", ["red / green"] * 4 + ["red green"] * 3 + ["red/green"] * 3),
    ("dont know", ["don't know"] * 10), ("it's", ["its"] * 5 + ["it's"] * 5), ("", [""] * 3 + ["yes"] * 7), ("the", ["a"] * 10),
    ("red", ["red", "blue", "red", "green", "Red", "RED.", "crimson", "red ", " red", "pink"]), ("left", ["left"] * 3 + ["on left"] * 7),
    ("12:30", ["12:30"] * 2 + ["12.30"] * 8), ("5 o'clock", ["5 oclock"] * 2 + ["5"] * 8), ("yes, it is", ["yes it is"] * 3 + ["yes"] * 7),
    ("caf\u00e9", ["CAF\u00c9"] * 3 + ["cafe"] * 7), ("one-way", ["one way"] * 3 + ["oneway"] * 7), ("up", ["up"] * 1 + ["down"] * 9),
]


def normalise(text):
    """The steps of VQAEval.evaluate on one answer."""
    judge = VQAEval(None, None)
    text = text.replace("\n", " ").replace("\t", " ").strip()
    return judge.processDigitArticle(judge.processPunctuation(text))


def sets(rows):
    truth, result = VQA(), VQA()
    for i, (prediction, answers) in enumerate(rows):
        listed = [dict(answer=a, answer_id=j + 1, answer_confidence="yes") for j, a in enumerate(answers)]
        truth.qa[i] = dict(question_id=i, answers=listed, question_type="", answer_type="other")
        result.qa[i] = dict(question_id=i, answer=prediction)
    truth.dataset, result.dataset = dict(annotations=list(truth.qa.values())), dict(annotations=list(result.qa.values()))
    return truth, result


def evaluate(rows):
    judge = VQAEval(*sets(rows), n=2)
    with contextlib.redirect_stdout(io.StringIO()):
        judge.evaluate()
    return judge


def main():
    judge = evaluate(ROWS)
    write_json("vqa_metric.json", dict(
        normalise=[[t, normalise(t)] for t in TEXTS if t.isascii()],
        normalise_unicode=[[t, normalise(t)] for t in TEXTS if not t.isascii()],
        postprocess=[[t, postprocess_vqa_generation(t)] for t in GENERATIONS],
        accuracy=[[p, a, judge.evalQA[i]] for i, (p, a) in enumerate(ROWS)],
        overall=judge.accuracy["overall"]))


if __name__ == "__main__":
    main()
