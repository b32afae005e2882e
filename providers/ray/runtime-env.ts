import { type Refusal, refuse } from '../../core/refusal.ts';

/**
 * The keys of Ray's runtime_env that a job may give. Ray ignores a key that it does not know, so that a typing error would run without
 * what was asked for; here anything else is refused, with what to write instead.
 */
export interface RuntimeEnv {
  readonly pip?: readonly string[] | PipPackages;
  readonly uv?: readonly string[] | UvPackages;
  /** The name of an environment that is on the nodes, or one described as in an environment.yml. */
  readonly conda?: string | Readonly<Record<string, unknown>>;
  /** The image that the job's processes run in. */
  readonly image_uri?: string;
  readonly config?: { readonly setup_timeout_seconds?: number; readonly eager_install?: boolean };
}

interface PipPackages {
  readonly packages: readonly string[];
  readonly pip_check?: boolean;
  readonly pip_version?: string;
}

interface UvPackages {
  readonly packages: readonly string[];
  readonly uv_check?: boolean;
  readonly uv_version?: string;
}

const PACKAGES_LIMIT = 256;
const TEXT_LIMIT = 512;
const CONDA_LIMIT_BYTES = 16 * 1024;
const SETUP_LIMIT_SECONDS = 3600;

/** Keys of Ray that Merit makes itself, or does not take, and what says the same in a job file. */
const INSTEAD: Readonly<Record<string, string>> = {
  env_vars: 'write envs in the job file',
  working_dir: 'write workdir in the job file',
  excludes: 'name the files in .rayignore in the workdir',
  py_modules: 'put the modules into the workdir',
  py_executable: 'call the program in run',
  worker_process_setup_hook: 'write its command before yours in run',
  container: 'write image_uri',
};

type Check = (field: string, value: unknown) => readonly Refusal[];

const CHECKS: Readonly<Record<string, Check>> = {
  pip: packageChecks('pip_check', 'pip_version'),
  uv: packageChecks('uv_check', 'uv_version'),
  conda: (field, value) =>
    isText(value) || (isRecord(value) && Buffer.byteLength(JSON.stringify(value)) <= CONDA_LIMIT_BYTES)
      ? []
      : [
          refuse(
            'type',
            field,
            'is no environment',
            `write its name, or its description up to ${CONDA_LIMIT_BYTES} bytes`,
          ),
        ],
  image_uri: (field, value) =>
    isText(value) ? [] : [refuse('type', field, 'is no image', 'write it as registry/name@sha256:…')],
  config: (field, value) => membersRefusals(field, value, CONFIG),
};

const CONFIG: Readonly<Record<string, Check>> = {
  setup_timeout_seconds: (field, value) =>
    Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= SETUP_LIMIT_SECONDS
      ? []
      : [refuse('range', field, 'is out of range', `write a whole number from 1 to ${SETUP_LIMIT_SECONDS}`)],
  eager_install: flag,
};

export function runtimeEnvRefusals(field: string, value: unknown): readonly Refusal[] {
  if (value === undefined) return [];
  const refusals = membersRefusals(field, value, CHECKS);
  if (isRecord(value) && ['pip', 'uv', 'conda', 'image_uri'].filter((key) => Object.hasOwn(value, key)).length > 1)
    return [
      ...refusals,
      refuse('conflict', field, 'names several environments', 'keep one of pip, uv, conda and image_uri'),
    ];
  return refusals;
}

function membersRefusals(field: string, value: unknown, checks: Readonly<Record<string, Check>>): readonly Refusal[] {
  const known = Object.keys(checks).join(', ');
  if (!isRecord(value)) return [refuse('type', field, 'is no object', `write ${known} below it`)];
  return Object.entries(value).flatMap(([key, member]) => {
    const check = Object.hasOwn(checks, key) ? checks[key] : undefined;
    if (check !== undefined) return check(`${field}.${key}`, member);
    const instead = Object.hasOwn(INSTEAD, key) ? INSTEAD[key] : undefined;
    const mend = instead ?? `remove it; there are ${known}`;
    return [refuse('unknown_field', `${field}.${key.slice(0, 80)}`, 'is not taken', mend)];
  });
}

function packageChecks(checkFlag: string, version: string): Check {
  const checks: Readonly<Record<string, Check>> = {
    packages: packageList,
    [checkFlag]: flag,
    [version]: (field, value) =>
      isText(value) ? [] : [refuse('type', field, 'is no version', 'write it as "==24.0"')],
  };
  return (field, value) => {
    if (Array.isArray(value)) return packageList(field, value);
    if (isRecord(value) && value.packages === undefined)
      return [refuse('required', `${field}.packages`, 'is missing', 'list the packages')];
    return membersRefusals(field, value, checks);
  };
}

function packageList(field: string, value: unknown): readonly Refusal[] {
  const mend = `list 1 to ${PACKAGES_LIMIT} lines as in a requirements file: ["torch==2.8.0"]`;
  if (!Array.isArray(value) || value.length === 0 || value.length > PACKAGES_LIMIT)
    return [refuse('type', field, 'is no list of packages', mend)];
  return value.flatMap((line, i) => (isText(line) ? [] : [refuse('type', `${field}.${i}`, 'is no package', mend)]));
}

function flag(field: string, value: unknown): readonly Refusal[] {
  return typeof value === 'boolean' ? [] : [refuse('type', field, 'is neither true nor false', 'write true or false')];
}

/** One line that a person can read. */
function isText(value: unknown): value is string {
  return (
    typeof value === 'string' && value.length > 0 && value.length <= TEXT_LIMIT && !/[\p{Cc}\u2028\u2029]/u.test(value)
  );
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
