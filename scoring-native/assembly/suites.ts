import { same } from '../simd-json-wasm/assembly/bytes';
import { createInterner, find, intern, internedRecord, NO_ID, OWN_WORD } from '../simd-json-wasm/assembly/intern';
import { allocate, copy, doubled, release } from './blocks';
import { hostReached, LIMIT_MEMORY, LIMIT_SUITES } from './host';

/** Suites by tenant and name, and what their metrics ask of a value. */
export const NO_SUITE: i32 = -1;
export const MAX_SUITES: u32 = 65535;
/** A metric name that a suite does not hold. */
export const NO_METRIC: u32 = 0xffff;

/** A suite: number of metrics, its metrics, the metric of each known name as 16 bits, how many of those. */
const SUITE: usize = 16;
/** A metric: factor, least and greatest valid value. */
export const METRIC: usize = 32;

let suites: usize = 0;
let capacity: u32 = 64;
let count: u32 = 0;
let suiteNames: usize = 0;
/** Every name that is a metric of some suite. */
let metricNames: usize = 0;
const MAX_METRIC_NAMES: u32 = 1 << 22;
/** A name that no suite knows. */
export const NO_NAME: u32 = NO_ID;
/** The most metrics that a suite has. */
export let mostMetrics: u32 = 0;

/** The tenant whose lines are read, as "tenant\n"; behind it there is room for a name. */
const MAX_TENANT: usize = 256;
export let tenant: usize = 0;
export let tenantLength: usize = 0;

export function startSuites(): void {
  suites = allocate(<usize>capacity * SUITE);
  suiteNames = createInterner(MAX_SUITES);
  metricNames = createInterner(MAX_METRIC_NAMES);
  tenant = allocate(MAX_TENANT + 256);
  store<u8>(tenant, 0x0a);
  tenantLength = 1;
}

/** Lines read from now on are this tenant's; its name comes from the host, at most MAX_TENANT bytes. */
export function setTenant(p: usize, length: usize): void {
  memory.copy(tenant, p, length);
  store<u8>(tenant + length, 0x0a);
  tenantLength = length + 1;
  lastLength = 0;
}

/** A suite of the tenant that was set; it takes the place of an earlier one of that name. Its metrics follow by addMetric. */
export function addSuite(p: usize, length: usize): u32 {
  if (count == MAX_SUITES) hostReached(LIMIT_SUITES);
  if (count == capacity) {
    suites = doubled(suites, <usize>capacity * SUITE);
    capacity *= 2;
  }
  memory.copy(tenant + tenantLength, p, length);
  store<u32>(internedRecord(suiteNames, numberOf(suiteNames, tenant, tenantLength + length)), count, OWN_WORD);
  const suite = suiteAt(count);
  store<u32>(suite, 0);
  store<usize>(suite, 0, 4);
  store<usize>(suite, 0, 8);
  store<u32>(suite, 0, 12);
  lastLength = 0;
  return count++;
}

/** The next metric of the suite added last. */
export function addMetric(p: usize, length: usize, factor: f64, least: f64, greatest: f64): void {
  const suite = suiteAt(count - 1);
  const n = load<u32>(suite);
  const metrics = allocate(<usize>(n + 1) * METRIC);
  if (n > 0) {
    memory.copy(metrics, load<usize>(suite, 4), <usize>n * METRIC);
    release(load<usize>(suite, 4), <usize>n * METRIC);
  }
  store<usize>(suite, metrics, 4);
  const metric = metrics + <usize>n * METRIC;
  store<f64>(metric, factor);
  store<f64>(metric, least, 8);
  store<f64>(metric, greatest, 16);
  store<u32>(suite, n + 1);
  if (n + 1 > mostMetrics) mostMetrics = n + 1;
  const name = numberOf(metricNames, p, length);
  growPlaces(suite, name + 1);
  store<u16>(load<usize>(suite, 8) + (<usize>name << 1), <u16>n);
}

function growPlaces(suite: usize, names: u32): void {
  const had = load<u32>(suite, 12);
  if (names <= had) return;
  const places = allocate(<usize>names << 1);
  memory.fill(places, 0xff, <usize>names << 1);
  if (had > 0) {
    memory.copy(places, load<usize>(suite, 8), <usize>had << 1);
    release(load<usize>(suite, 8), <usize>had << 1);
  }
  store<usize>(suite, places, 8);
  store<u32>(suite, names, 12);
}

// @ts-ignore: decorator
@inline
function suiteAt(suite: u32): usize {
  return suites + <usize>suite * SUITE;
}

// @ts-ignore: decorator
@inline
export function metricsOf(suite: i32): u32 {
  return load<u32>(suiteAt(<u32>suite));
}

// @ts-ignore: decorator
@inline
export function metricAt(suite: i32, metric: u32): usize {
  return load<usize>(suiteAt(<u32>suite), 4) + <usize>metric * METRIC;
}

/** The metric of the suite that has the name, or NO_METRIC. */
// @ts-ignore: decorator
@inline
export function metricOf(suite: i32, name: u32): u32 {
  const at = suiteAt(<u32>suite);
  return name < load<u32>(at, 12) ? <u32>load<u16>(load<usize>(at, 8) + (<usize>name << 1)) : NO_METRIC;
}

/** The suite looked up last, whose name still stands behind the tenant's: most lines are of the same. */
let lastLength: usize = 0;
let lastSuite: i32 = NO_SUITE;

/** The tenant's suite of that name, or NO_SUITE. Reads up to 15 bytes past the name, which is at most 64 bytes. */
export function findSuite(p: usize, length: usize): i32 {
  const at = tenant + tenantLength;
  if (length == lastLength && same(at, p, length)) return lastSuite;
  copy(at, p, length);
  const name = find(suiteNames, tenant, tenantLength + length);
  lastLength = length;
  lastSuite = name == NO_ID ? NO_SUITE : load<i32>(internedRecord(suiteNames, name), OWN_WORD);
  return lastSuite;
}

/** The number of a metric's name, or NO_NAME. */
export function knownMetric(p: usize, length: usize): u32 {
  return find(metricNames, p, length);
}

function numberOf(table: usize, p: usize, length: usize): u32 {
  const id = intern(table, p, length, p);
  if (id == NO_ID) hostReached(LIMIT_MEMORY);
  return id;
}
