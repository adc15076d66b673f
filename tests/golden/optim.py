"""optim.json: torch.optim.AdamW, clip_grad_norm_ and transformers' warm-up schedules."""
import torch
from formula import data, write_json
from transformers import (get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup,
                          get_linear_schedule_with_warmup)

SHAPES = [[2, 3], [4]]
SCHEDULES = dict(constant=get_constant_schedule_with_warmup, linear=get_linear_schedule_with_warmup,
                 cosine=get_cosine_schedule_with_warmup)


def start():
    return [data(f"optim.param.{i}", s).requires_grad_() for i, s in enumerate(SHAPES)]


def gradient(step, i):
    return data(f"optim.grad.{step}.{i}", SHAPES[i])


def flat(tensors):
    return [t.detach().flatten().tolist() for t in tensors]


def adamw(weight_decay, lr=0.01, betas=(0.9, 0.95), eps=1e-8):
    params, steps = start(), []
    opt = torch.optim.AdamW(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=False)
    for step in range(6):
        for i, p in enumerate(params):
            p.grad = gradient(step, i)
        opt.step()
        steps.append(flat(params))
    moments = [flat([opt.state[p][k] for p in params]) for k in ("exp_avg", "exp_avg_sq")]
    return dict(lr=lr, betas=list(betas), eps=eps, weight_decay=weight_decay, params_after_step=steps,
                exp_avg=moments[0], exp_avg_sq=moments[1])


def clip(max_norm, scale):
    params = start()
    for i, p in enumerate(params):
        p.grad = gradient(0, i) * scale
    norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
    return dict(max_norm=max_norm, grad_scale=scale, norm=float(norm), grads=flat(p.grad for p in params))


def curve(name, warmup, total=60, lr=1.0):
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    args = dict(num_warmup_steps=warmup) if name == "constant" else dict(num_warmup_steps=warmup, num_training_steps=total)
    schedule, rates = SCHEDULES[name](opt, **args), []
    for _ in range(total + 3):  # past the end too
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        schedule.step()
    return dict(schedule=name, warmup=warmup, total=total, lr=rates)


def main():
    write_json("optim.json", dict(
        notes="param i starts at input optim.param.i; at step s (from 0) its gradient is input optim.grad.s.i; both by the formula. "
              "clip: gradients of step 0 times grad_scale (a float32 product). lr[s] is the rate that step s (from 0) uses, peak 1.",
        shapes=SHAPES, adamw=[adamw(0.0), adamw(0.1)], clip=[clip(1.0, 1.0), clip(1.0, 0.125), clip(0.5, 100.0)],
        schedules=[curve(name, warmup) for name in SCHEDULES for warmup in (0, 10)]))


if __name__ == "__main__":
    main()
