"""generate.json: transformers' generate (beam search, greedy, the filters of sampling), alone and inside open_flamingo."""
import itertools
import random

import torch
from flamingo import LM, MEDIA, build, tokens
from formula import data, parameter, write_json
from transformers import GenerationConfig, GenerationMixin, LlamaConfig, LlamaForCausalLM, LogitsProcessorList

SIZES = dict(vocab_size=23, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
             num_key_value_heads=3, rms_norm_eps=1e-6, tie_word_embeddings=False)
HEAD_SCALE, FLAMINGO_HEAD_SCALE, PAD = 2.0, 4.0, 0  # larger logits: fewer near ties
MARGIN = 2e-4  # of every decision; rounding is some 1e-5
margins = []


def watch(name, gaps):
    """Has the search report how close its decisions were."""
    original = getattr(GenerationMixin, name)

    def watched(*args, **kwargs):
        margins.extend(gaps(**kwargs))
        return original(*args, **kwargs)

    static = isinstance(GenerationMixin.__dict__[name], staticmethod)
    setattr(GenerationMixin, name, staticmethod(watched) if static else watched)


def neighbours(scores):
    """Differences of the scores of one text that mean something, in order."""
    real = scores[scores > -1e8].sort().values
    return real.diff().tolist()


def topk_gaps(accumulated_log_probs, beams_to_keep, **_):
    best = accumulated_log_probs.topk(beams_to_keep + 1).values
    return itertools.chain.from_iterable(map(neighbours, best))


def finish_gaps(beam_scores, topk_log_probs, next_token_hits_stopping_criteria, num_beams, cur_len, decoder_prompt_len,
                length_penalty, **_):
    new = topk_log_probs / (cur_len + 1 - decoder_prompt_len) ** length_penalty
    new = new.masked_fill(~next_token_hits_stopping_criteria, -1e9)[:, :num_beams]
    return itertools.chain.from_iterable(map(neighbours, torch.cat([beam_scores, new], 1)))


def stop_gaps(running_beam_scores, beam_scores, is_sent_finished, cur_len, max_length, decoder_prompt_len, early_stopping,
              length_penalty, **_):
    length = (max_length if early_stopping == "never" and length_penalty > 0 else cur_len) - decoder_prompt_len
    gap = (running_beam_scores[:, 0] / length**length_penalty - beam_scores.min(1).values).abs()
    return gap[is_sent_finished.all(1)].tolist()


watch("_get_top_k_continuations", topk_gaps)
watch("_update_finished_beams", finish_gaps)
watch("_check_early_stop_heuristic", stop_gaps)


def pad_left(prompts):
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def until_end(row, eos):
    ends = [i for i, token in enumerate(row) if token in eos]
    return row[: ends[0] + 1] if ends else row


def outcome(generate, prompt_length, config):
    """New ids of each row up to its end, and the scores of beams; None where a decision was a near tie."""
    margins.clear()
    with torch.no_grad():
        out = generate(**config, do_sample=False, pad_token_id=PAD, return_dict_in_generate=True, output_scores=True)
    if config["num_beams"] == 1:
        top = torch.stack(out.scores).topk(2).values
        margins.extend((top[..., 0] - top[..., 1]).flatten().tolist())
    if min(margins) < MARGIN:
        return None
    ids = [until_end(row, config["eos_token_id"]) for row in out.sequences[:, prompt_length:].tolist()]
    scores = [float(f"{s:.7g}") for s in out.sequences_scores.tolist()] if config["num_beams"] > 1 else []
    return dict(ids=ids, scores=scores)


def llama(weights):
    theta = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    model = LlamaForCausalLM(LlamaConfig(**SIZES, **theta, max_position_embeddings=64, bos_token_id=None, eos_token_id=None,
                                         pad_token_id=None, attn_implementation="eager")).eval()
    listing = []
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(parameter(f"{weights}.{name}", p.shape))
            listing.append([name, list(p.shape)])
        model.lm_head.weight.mul_(HEAD_SCALE)
    return model, listing


def settings(**changes):
    return dict(dict(max_new_tokens=8, min_new_tokens=0, eos_token_id=[2], num_beams=3, num_return_sequences=1,
                     length_penalty=1.0, early_stopping=False), **changes)


def random_settings(rng):
    beams = rng.choice([1, 2, 3, 4, 5])
    longest = rng.randint(1, 10)
    return settings(max_new_tokens=longest, min_new_tokens=rng.choice([0, 0, rng.randint(0, longest)]),
                    eos_token_id=sorted(rng.sample(range(1, SIZES["vocab_size"]), rng.choice([1, 1, 2, 3]))), num_beams=beams,
                    num_return_sequences=rng.randint(1, beams) if beams > 1 else 1,
                    length_penalty=rng.choice([0.0, -2.0, 1.0, 0.6, -1.0, 2.0]),
                    early_stopping=rng.choice([False, True, "never"]))


def random_prompts(rng, count, shortest):
    return [[rng.randrange(1, SIZES["vocab_size"]) for _ in range(rng.randint(shortest, 6))] for _ in range(count)]


def wanted_of(number):
    """Prompts and settings: two batches under every length penalty and every way to stop, and eight at random."""
    rng = random.Random(number)
    for _ in range(2):
        prompts = random_prompts(rng, 3, 2)
        eos = sorted(rng.sample(range(1, SIZES["vocab_size"]), 3))
        for penalty, stop in [(0.0, False), (-2.0, False), (-2.0, True), (1.0, False), (1.0, True), (1.0, "never")]:
            yield prompts, settings(max_new_tokens=10, eos_token_id=eos, num_beams=2, length_penalty=penalty, early_stopping=stop)
    for _ in range(8):
        yield random_prompts(rng, rng.randint(1, 4), 1), random_settings(rng)


def language_cases():
    cases, skipped = [], 0
    for number in range(5):
        weights = f"generate.{number}"
        model, listing = llama(weights)
        for prompts, config in wanted_of(number):
            ids, mask = pad_left(prompts)
            found = outcome(lambda **c: model.generate(ids, attention_mask=mask, **c), ids.shape[1], config)
            skipped += found is None
            if found:
                cases.append(dict(weights=weights, prompts=prompts, config=config, **found))
    assert skipped <= 30, skipped
    return cases, listing


def check_coverage(cases):
    """The fixture has what the settings are there for."""
    def groups(but):
        found = {}
        for c in cases:
            key = str((c["prompts"], {k: v for k, v in c["config"].items() if k != but}))
            found.setdefault(key, []).append(c["ids"])
        return [len({str(ids) for ids in g}) for g in found.values()]

    assert max(groups("early_stopping")) == 3, "no batch where each way to stop ends differently"
    assert max(groups("length_penalty")) >= 2
    ragged = [c for c in cases if len(set(map(len, c["ids"]))) > 1]
    assert len(ragged) > 20 and sum(len(c["config"]["eos_token_id"]) > 1 for c in ragged) > 10
    assert any(c["config"]["min_new_tokens"] > 1 and min(map(len, c["ids"])) == c["config"]["min_new_tokens"] for c in cases)


def flamingo_prompts():
    row = tokens("generate_ids", (3, 11)).tolist()
    prompts = [row[0][:9], row[1][:6], row[2]]
    prompts[0][1] = prompts[1][0] = prompts[2][3] = prompts[2][8] = MEDIA
    return prompts


def flamingo_cases():
    """Three prompts of 9, 6 and 11 tokens; eos is the token that ends them at the most different lengths."""
    model, _ = build(LM, every=2)
    with torch.no_grad():
        model.lang_encoder.lm_head.weight.mul_(FLAMINGO_HEAD_SCALE)
    prompts = flamingo_prompts()
    ids, mask = pad_left(prompts)
    pixels = data("generate_pixels", (3, 2, 1, 3, 42, 42))

    def run(config):
        return outcome(lambda **c: model.generate(vision_x=pixels, lang_x=ids, attention_mask=mask, **c), ids.shape[1], config)

    def variety(eos):
        found = run(settings(max_new_tokens=9, eos_token_id=[eos], length_penalty=0.0))
        return len(set(map(len, found["ids"]))) + sum(len(r) < 9 for r in found["ids"]) / 10 if found else 0

    eos = max(range(3, 129), key=variety)
    wanted = [settings(max_new_tokens=n, length_penalty=p) for n, p in itertools.product([5, 9], [0.0, -2.0, 1.0])]
    wanted += [settings(max_new_tokens=9, min_new_tokens=6, length_penalty=0.0, num_return_sequences=3),
               settings(max_new_tokens=9, length_penalty=1.0, early_stopping="never", num_beams=4),
               settings(max_new_tokens=9, length_penalty=0.0, early_stopping=True, num_beams=2),
               settings(max_new_tokens=9, num_beams=1)]
    cases = []
    for config in wanted:
        found = run(dict(config, eos_token_id=[eos]))
        assert found, ("a near tie", config)
        assert not any(MEDIA in row for row in found["ids"]), "a generated <image> is outside this fixture"
        cases.append(dict(config=dict(config, eos_token_id=[eos]), **found))
    assert any(len(set(map(len, c["ids"]))) > 1 for c in cases)
    return prompts, cases


def filter_cases():
    """What sampling draws from: probabilities of the tokens that the filters leave, the others zero."""
    model, _ = llama("generate.0")
    wanted = [dict(temperature=0.7), dict(temperature=1.9), dict(top_k=1), dict(top_k=5), dict(top_k=50), dict(top_p=0.05),
              dict(top_p=0.6), dict(top_p=0.95), dict(temperature=1.5, top_k=7, top_p=0.8), dict(temperature=0.5, top_k=9, top_p=0.9),
              dict(top_k=3, top_p=0.5, min_new_tokens=3, eos_token_id=[4, 11]), dict(min_new_tokens=2, eos_token_id=[4]),
              dict(top_k=4, quantum=1.0), dict(top_k=9, temperature=0.3, quantum=2.0)]
    cases = []
    for case in wanted:
        config = {k: v for k, v in case.items() if k != "quantum"}
        logits = data("generate_logits", (3, SIZES["vocab_size"])) * 4
        if "quantum" in case:  # ties at the edge of top_k
            logits = (logits / case["quantum"]).round() * case["quantum"]
        full = GenerationConfig(do_sample=True, **dict(dict(top_k=0, top_p=1.0, temperature=1.0), **config))
        full._eos_token_tensor = torch.tensor(config["eos_token_id"]) if "eos_token_id" in config else None
        processors = model._get_logits_processor(generation_config=full, input_ids_seq_length=1, encoder_input_ids=None,
                                                 prefix_allowed_tokens_fn=None, logits_processor=LogitsProcessorList(),
                                                 device="cpu")
        out = processors(torch.ones(3, 3, dtype=torch.long), logits).softmax(-1)  # two new tokens so far
        cases.append(dict(config=config, quantum=case.get("quantum", 0), probabilities=[
            [float(f"{p:.7g}") for p in row] for row in out.tolist()]))
    return cases


def main():
    cases, listing = language_cases()
    check_coverage(cases)
    prompts, flamingo = flamingo_cases()
    write_json("generate.json", dict(language=SIZES, head_scale=HEAD_SCALE, parameters=listing, cases=cases,
                                     flamingo_head_scale=FLAMINGO_HEAD_SCALE, flamingo_prompts=prompts, flamingo_cases=flamingo,
                                     filters=filter_cases()))


if __name__ == "__main__":
    main()
