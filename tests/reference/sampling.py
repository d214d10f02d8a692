"""Fixtures for tests/sampling: trajectories of diffusers' schedulers, and of flows and PeRFlow written from their formulas,
with a network that is one line of arithmetic.

    python3 tests/reference/sampling.py            (torch 2.15, diffusers 0.42.1)

Writes tests/data/sampling.safetensors: for case N the trajectory "N" [steps + 1, 24] and, as metadata, "N": the scheduler's
config as diffusers saves it, and "N.request": solver, sigmas, prediction ("own": the config's), steps, strength (0: no picture).
Not run by any test.
"""
import json, math, os
import numpy as np
import torch
from safetensors.torch import save_file
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
                       FlowMatchEulerDiscreteScheduler, LCMScheduler, PNDMScheduler, UniPCMultistepScheduler)

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'data', 'sampling.safetensors')
SHAPE, SEED = (1, 4, 2, 3), 21
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')
tensors, notes = {}, {}


def network(z, t):
    t = float(t) / 1000
    return z * (0.6 + 0.3 * t) / torch.sqrt(1 + 0.2 * z * z) + 0.1 * (t - 0.5)


def picture():
    return (torch.arange(24).reshape(SHAPE) / 12 - 1).float()


def add(config, request, trajectory):
    n = str(len(tensors))
    tensors[n] = torch.stack([z.flatten() for z in trajectory]).float().contiguous()
    assert torch.isfinite(tensors[n]).all(), request
    notes[n], notes[n + '.request'] = config, request


def run(scheduler, steps, strength=0.0, request='own own own', config=None):
    """As diffusers' pipelines go: text to image, or image to image from the same noise."""
    generator = torch.Generator('cpu').manual_seed(SEED)
    noise = torch.randn(SHAPE, generator=generator)
    scheduler.set_timesteps(steps)
    first = max(steps - min(int(steps * strength), steps), 0) if strength else 0
    times = scheduler.timesteps[first:]
    if hasattr(scheduler, 'set_begin_index'):             # else two steps of one (rounded) time make it begin at the second
        scheduler.set_begin_index(first)
    if strength:
        z = scheduler.add_noise(picture(), noise, times[:1])
    else:
        z = noise * scheduler.init_noise_sigma
    trajectory = [z]
    for t in times:
        m = network(scheduler.scale_model_input(z, t), t)
        kind = {} if isinstance(scheduler, (DDIMScheduler, EulerDiscreteScheduler)) else {'generator': generator}
        z = scheduler.step(m, t, z, **kind).prev_sample
        trajectory.append(z)
    add(config or scheduler.to_json_string(), f'{request} {steps} {strength}', trajectory)


# ---- diffusion: every sampler, prediction and spacing
for prediction in ('epsilon', 'v_prediction'):
    for spacing in ('leading', 'linspace', 'trailing'):
        common = dict(prediction_type=prediction, timestep_spacing=spacing, **SD)
        offset = dict(steps_offset=1 if spacing == 'leading' else 0)
        run(DDIMScheduler(clip_sample=False, set_alpha_to_one=spacing == 'trailing', **offset, **common), 7)
        run(EulerDiscreteScheduler(**offset, **common), 7)
        run(EulerAncestralDiscreteScheduler(**offset, **common), 6)
        run(DPMSolverMultistepScheduler(**offset, **common), 8)
        run(DPMSolverMultistepScheduler(use_karras_sigmas=True, **offset, **common), 7)
        run(EulerDiscreteScheduler(use_karras_sigmas=True, **offset, **common), 5)
    run(LCMScheduler(prediction_type=prediction), 4)
    run(LCMScheduler(prediction_type=prediction, original_inference_steps=100, set_alpha_to_one=False), 6)
for steps in (2, 16):
    run(DPMSolverMultistepScheduler(**SD), steps)
run(DPMSolverMultistepScheduler(use_karras_sigmas=True, **SD), 20)
run(LCMScheduler(), 1)
run(EulerDiscreteScheduler(beta_schedule='linear'), 4)
run(DPMSolverMultistepScheduler(beta_schedule='squaredcos_cap_v2', use_karras_sigmas=True, prediction_type='v_prediction'), 5)
run(DDIMScheduler(beta_schedule='squaredcos_cap_v2', clip_sample=False, prediction_type='v_prediction'), 5)
zero = dict(prediction_type='v_prediction', timestep_spacing='trailing', rescale_betas_zero_snr=True, **SD)
run(DDIMScheduler(clip_sample=False, **zero), 5)
run(DPMSolverMultistepScheduler(**zero), 5)

# ---- image to image
for strength in (0.3, 0.75, 1.0):
    for kind in (DDIMScheduler, EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler):
        extra = dict(clip_sample=False) if kind is DDIMScheduler else {}
        run(kind(**SD, **extra), 10, strength)
run(LCMScheduler(), 5, 0.6)

# ---- another sampler than the folder's own, as from_config makes it
pndm = PNDMScheduler(skip_prk_steps=True, steps_offset=1, **SD)
old = {k: v for k, v in json.loads(pndm.to_json_string()).items() if k != 'timestep_spacing'}     # as folders of 2022 have it
old['clip_sample'] = False
for kind, name in ((DDIMScheduler, 'ddim'), (EulerDiscreteScheduler, 'euler'), (DPMSolverMultistepScheduler, 'dpm++2m')):
    extra = dict(clip_sample=False) if kind is DDIMScheduler else {}
    run(kind.from_config({**old, **extra}), 6, request=f'{name} own own', config=json.dumps(old))
run(DPMSolverMultistepScheduler.from_config(old, use_karras_sigmas=True), 6, request='dpm++2m karras own', config=json.dumps(old))
run(DPMSolverMultistepScheduler.from_config(old), 6, request='own own own', config=json.dumps(old))
unipc = json.loads(UniPCMultistepScheduler(**SD).to_json_string())
run(EulerDiscreteScheduler.from_config(unipc), 5, request='euler own own', config=json.dumps(unipc))


# ---- flows: t = 1 is noise, v = noise - data
def flow(steps, strength=0.0, shift=1.0, to_data=False):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    t = scheduler.sigmas.double()
    first = max(steps - min(int(steps * strength), steps), 0) if strength else 0
    z = torch.randn(SHAPE, generator=torch.Generator('cpu').manual_seed(SEED))
    if strength:
        z = scheduler.scale_noise(picture(), scheduler.timesteps[first:first + 1], z)
    trajectory = [z]
    for i in range(first, steps):
        v = network(z, 1000 * t[i])
        z = z - (t[i + 1] - t[i]) * v if to_data else z + (t[i + 1] - t[i]) * v
        trajectory.append(z)
    add(scheduler.to_json_string(), f"own own {'instaflow' if to_data else 'own'} {steps} {strength}", trajectory)


flow(1), flow(4), flow(25), flow(7, shift=3.0), flow(10, 0.45), flow(6, 1.0, 1.5), flow(5, to_data=True), flow(8, 0.5, to_data=True)


# ---- PeRFlow, from the formulas of its segment maps
def perflow(kind, steps, windows=4, strength=0.0):
    root = np.sqrt(0.00085) + np.arange(1000) / 999 * (np.sqrt(0.012) - np.sqrt(0.00085))
    kept = np.cumprod(1 - root ** 2)
    edges = [1 - k / windows for k in range(windows + 1)]
    todo = []                                             # (time, window) of every step
    for k in range(windows):
        n = steps // windows + (1 if k < steps % windows else 0)
        todo += [(int(1000 * (edges[k] + i * (edges[k + 1] - edges[k]) / n) + 1e-9) / 1000, k) for i in range(n)]
    first = max(steps - min(int(steps * strength), steps), 0) if strength else 0
    z = torch.randn(SHAPE, generator=torch.Generator('cpu').manual_seed(SEED)).double()

    def ends(k):
        return kept[round(1000 * edges[k]) - 1], kept[max(round(1000 * edges[k + 1]) - 1, 0)]

    if strength:                                          # between the picture's noised forms at both ends of the window
        now, k = todo[first]
        a_s, a_e = ends(k)
        part = (edges[k] - now) / (edges[k] - edges[k + 1])
        at = lambda a: math.sqrt(a) * picture().double() + math.sqrt(1 - a) * z
        z = at(a_s) + part * (at(a_e) - at(a_s))
    trajectory = [z]
    for i in range(first, steps):
        t_c, k = todo[i]
        t_next = todo[i + 1][0] if i + 1 < steps else 0.0
        t_s, t_e = edges[k], edges[k + 1]
        a_s, a_e = ends(k)
        output = network(z, 1000 * t_c)
        if kind == 'velocity':
            velocity = output
        else:
            if kind == 'diff_eps':
                gamma = math.sqrt(a_s / a_e)
                lambda_s, eta_s = 1 / gamma, -math.sqrt(1 - gamma ** 2) / gamma
            else:
                lambda_s = math.sqrt(a_e / a_s)
                eta_s = math.sqrt(1 - a_e) - math.sqrt(a_e / a_s * (1 - a_s))
            den = lambda_s * (t_c - t_s) + (t_e - t_c)
            lambda_c, eta_c = lambda_s * (t_e - t_s) / den, eta_s * (t_e - t_c) / den
            velocity = (lambda_c * z + eta_c * output - z) / (t_e - t_c)
        z = z + (t_next - t_c) * velocity
        trajectory.append(z)
    config = {'_class_name': 'PeRFlowScheduler', 'num_train_timesteps': 1000, 'set_alpha_to_one': False, 't_clean': 0, 't_noise': 1,
              'num_time_windows': windows, 'prediction_type': kind, 'trained_betas': None, **SD}
    add(json.dumps(config), f'own own own {steps} {strength}', trajectory)


for kind in ('diff_eps', 'ddim_eps', 'velocity'):
    perflow(kind, 4), perflow(kind, 6), perflow(kind, 8), perflow(kind, 5, 5), perflow(kind, 4, strength=0.5), perflow(kind, 8, strength=0.4)

save_file(tensors, OUT, metadata=notes)
print(len(tensors), 'cases', os.path.getsize(OUT), 'bytes')
