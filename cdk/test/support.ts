/** What the tests share: a synthesised stage, and the sources of the Rust side it is compared with. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { webchat } from '../lib/app.ts';

const ROOT = join(import.meta.dirname, '..', '..');
// Stands for the bundle: no test needs Rust.
const BUNDLE = join(mkdtempSync(join(tmpdir(), 'webchat-cdk-test-')), 'bootstrap.zip');
writeFileSync(BUNDLE, 'not a zip');
const FLAGS = JSON.parse(readFileSync(join(ROOT, 'cdk', 'cdk.json'), 'utf8')).context;

export type Resource = { Type: string; Properties: any; DeletionPolicy?: string };

/** The stage `poc` with this context, and what cdk-nag and the CDK's own rules say: they throw. */
export function synthesise(context: Record<string, string> = {}): {
  template: Template;
  assembly: ReturnType<ReturnType<typeof webchat>['app']['synth']>;
} {
  const { app, stack } = webchat(() => BUNDLE, {
    context: { ...FLAGS, stage: 'poc', ...context },
    outdir: mkdtempSync(join(tmpdir(), 'webchat-cdk-test-')),
  });
  const assembly = app.synth();
  return { template: Template.fromJSON(assembly.getStackByName(stack.stackName).template), assembly };
}

/** The stage with nothing chosen, made once. */
export const { template, assembly } = synthesise();

export function resources(of: Template, type: string): [id: string, resource: Resource][] {
  return Object.entries(of.findResources(type)) as [string, Resource][];
}

/** The function resource of that name. */
export function functionNamed(of: Template, name: string): Resource {
  const found = resources(of, 'AWS::Lambda::Function').find(([, { Properties }]) => Properties.Handler === name);
  if (!found) {
    throw new Error(`no function ${name}`);
  }
  return found[1];
}

/** A file of the repository. */
export function source(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** The first match's groups; a test that no longer finds what it compares with must fail. */
export function find(text: string, pattern: RegExp): string[] {
  const found = text.match(pattern);
  if (!found) {
    throw new Error(`nothing matches ${pattern}`);
  }
  return found.slice(1);
}

/** All quoted words of a text. */
export function words(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"/g)].map((match) => match[1]!);
}
