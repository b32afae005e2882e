import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import { rayJobOptions } from '../../../../providers/ray/job-options.ts';

function refused(options: unknown): readonly string[] {
  try {
    rayJobOptions(options);
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(RefusedInput);
    const { refusals } = error as RefusedInput;
    expect(refusals.every(({ problem, mend }) => problem !== '' && mend !== '')).toBe(true);
    return refusals.map(({ field }) => field);
  }
}

describe('what a job asks of Ray', () => {
  test.each([
    ['nothing', undefined],
    ['packages by pip', { runtime_env: { pip: ['torch==2.8.0', '--index-url https://x.example/simple'] } }],
    [
      'packages by pip with a check',
      { runtime_env: { pip: { packages: ['a'], pip_check: true, pip_version: '==24.0' } } },
    ],
    ['packages by uv', { runtime_env: { uv: { packages: ['a'] } } }],
    ['an environment of conda', { runtime_env: { conda: { dependencies: ['pip'] } } }],
    ['the name of one', { runtime_env: { conda: 'base' } }],
    ['an image', { runtime_env: { image_uri: 'registry.example/x@sha256:00' } }],
    [
      'time to set it up',
      { runtime_env: { pip: ['a'], config: { setup_timeout_seconds: 900, eager_install: false } } },
    ],
    [
      'labels',
      { labels: { 'ray.io/accelerator-type': 'H100', zone: '!a', rack: 'in(a1,a2)', 'x.example/a': '!in(b)' } },
    ],
    ['machines of their own', { spread: 'strict' }],
  ])('may be %s', (_what, options) => {
    expect(refused(options)).toEqual([]);
  });

  // Ray 2.60 takes each of these and runs the job without it, or fails it later without naming the field.
  test.each([
    ['a key that Ray does not know', { runtime_env: { pips: ['a'] } }, ['runtime_env.pips']],
    ['one that is on every object', { runtime_env: { constructor: 1 } }, ['runtime_env.constructor']],
    ['variables, which a job file has', { runtime_env: { env_vars: {} } }, ['runtime_env.env_vars']],
    ['a folder, which a job file has', { runtime_env: { working_dir: 's3://x' } }, ['runtime_env.working_dir']],
    ['another python', { runtime_env: { py_executable: 'sh' } }, ['runtime_env.py_executable']],
    ['a hook', { runtime_env: { worker_process_setup_hook: 'a.b' } }, ['runtime_env.worker_process_setup_hook']],
    ['no list of packages', { runtime_env: { pip: 'torch' } }, ['runtime_env.pip']],
    ['a package of two lines', { runtime_env: { pip: ['a\nb'] } }, ['runtime_env.pip.0']],
    ['packages of no list', { runtime_env: { uv: { uv_check: true } } }, ['runtime_env.uv.packages']],
    [
      'a word for a flag',
      { runtime_env: { pip: { packages: ['a'], pip_check: 'yes' } } },
      ['runtime_env.pip.pip_check'],
    ],
    ['two environments', { runtime_env: { pip: ['a'], conda: 'b' } }, ['runtime_env']],
    [
      'no time at all',
      { runtime_env: { config: { setup_timeout_seconds: 0 } } },
      ['runtime_env.config.setup_timeout_seconds'],
    ],
    ['a label without a value', { labels: { zone: '' } }, ['labels.zone']],
    ['a label with an unclosed choice', { labels: { zone: 'in(a' } }, ['labels.zone']],
    ['a label that is no name', { labels: { 'a b': 'x' } }, ['labels.a b']],
    ['a list of labels', { labels: ['zone'] }, ['labels']],
    ['a spread of another kind, and an unknown key', { spread: 'PACK', gpu: 1 }, ['gpu', 'spread']],
  ])('is refused with %s', (_what, options, fields) => {
    expect(refused(options)).toEqual(fields.map((field) => `options.ray.${field}`));
  });
});
