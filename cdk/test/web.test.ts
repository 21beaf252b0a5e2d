/** The deployed page: who can read it, by which way, and what it may do. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { Match } from 'aws-cdk-lib/assertions';
import { find, resources, source, synthesise, template as without } from './support.ts';

const { template } = synthesise({ web: 'true' });

function only(type: string): any {
  const found = resources(template, type);
  assert.equal(found.length, 1, type);
  return found[0]![1];
}

const { DistributionConfig: distribution } = only('AWS::CloudFront::Distribution').Properties;
const behaviors = [distribution.DefaultCacheBehavior, ...distribution.CacheBehaviors];
/** Text with `<Ref>`s. */
const flat = (value: any): string =>
  typeof value === 'string' ? value : value.Ref ? `<${value.Ref}>` : value['Fn::Join'][1].map(flat).join('');

test('without web=true there is no page, and no output names one', () => {
  for (const type of ['AWS::S3::Bucket', 'AWS::CloudFront::Distribution']) {
    without.resourceCountIs(type, 0);
  }
  assert(!Object.keys(without.findOutputs('*')).some((name) => name.startsWith('Page')));
});

test('nothing else changes but the origins that may connect', () => {
  const strip = (of: typeof template) => {
    const json = structuredClone(of.toJSON());
    for (const [id, resource] of Object.entries(json['Resources']) as [string, any][]) {
      delete resource.Properties?.Environment?.Variables.WEBCHAT_ALLOWED_ORIGINS;
      if (id.startsWith('Web')) {
        delete json['Resources'][id];
      }
    }
    return json['Resources'];
  };
  assert.deepEqual(strip(template), strip(without));
});

test('the bucket is private: CloudFront alone reads it, and only for this distribution, and only over TLS', () => {
  const { Properties, DeletionPolicy } = only('AWS::S3::Bucket');
  assert.deepEqual(new Set(Object.values(Properties.PublicAccessBlockConfiguration)), new Set([true]));
  assert(Properties.BucketEncryption && !Properties.WebsiteConfiguration);
  assert.equal(DeletionPolicy, 'Delete');
  const [deny, allow, ...more] = only('AWS::S3::BucketPolicy').Properties.PolicyDocument.Statement;
  assert.deepEqual(more, []);
  assert.deepEqual([deny.Effect, deny.Action, deny.Condition], ['Deny', 's3:*', { Bool: { 'aws:SecureTransport': 'false' } }]);
  const { Effect, Action, Principal, Condition } = allow;
  assert.deepEqual([Effect, Action, Principal], ['Allow', 's3:GetObject', { Service: 'cloudfront.amazonaws.com' }]);
  assert.match(flat(Condition.StringEquals['AWS:SourceArn']), /:distribution\/<WebDistribution\w+>$/);
  assert.deepEqual(
    distribution.Origins.map((origin: any) => [origin.S3OriginConfig.OriginAccessIdentity, 'OriginAccessControlId' in origin]),
    [['', true]],
  );
  template.hasResourceProperties('AWS::CloudFront::OriginAccessControl', {
    OriginAccessControlConfig: { SigningBehavior: 'always', SigningProtocol: 'sigv4', OriginAccessControlOriginType: 's3' },
  });
});

test('nothing is served without TLS, and the page is at /', () => {
  for (const behavior of behaviors) {
    assert.equal(behavior.ViewerProtocolPolicy, 'redirect-to-https');
  }
  assert.equal(distribution.DefaultRootObject, 'index.html');
});

test('the headers are those of the local page, and the page may talk to this gateway alone', () => {
  const local = source('local/src/page.rs');
  const policy = find(local, /const POLICY: &str = "((?:[^"\\]|\\\s)*)";/)[0]!.replace(/\\\s+/g, '');
  const sent = [...find(local, /let headers = \[([\s\S]*?)\n {4}\];/)[0]!.matchAll(/header::(?:HeaderName::from_static\("([^"]+)"\)|(\w+))/g)];
  const names = sent.map(([, literal, constant]) => literal ?? constant!.toLowerCase().replaceAll('_', '-'));
  const config = only('AWS::CloudFront::ResponseHeadersPolicy').Properties.ResponseHeadersPolicyConfig;
  const { ContentSecurityPolicy, ContentTypeOptions, ReferrerPolicy, StrictTransportSecurity } = config.SecurityHeadersConfig;
  const custom: [string, string, boolean][] = config.CustomHeadersConfig.Items.map((one: any) => [one.Header, one.Value, one.Override]);
  const host = /wss:\/\/<GatewayApi\w+>\.execute-api\.<AWS::Region>\.<AWS::URLSuffix>/;
  const deployed = flat(ContentSecurityPolicy.ContentSecurityPolicy);
  assert.match(deployed, host);
  assert.equal(deployed.replace(host, '').replace("connect-src 'self' ", "connect-src 'self'"), policy);
  assert(ContentTypeOptions.Override);
  assert.equal(ReferrerPolicy.ReferrerPolicy, find(local, /header::REFERRER_POLICY, "([^"]+)"/)[0]);
  assert.deepEqual(custom, [
    ['cross-origin-opener-policy', 'same-origin', true],
    ['cross-origin-resource-policy', 'same-origin', true],
  ]);
  // Content type and cache are the objects' own.
  const ours = ['content-security-policy', 'x-content-type-options', 'referrer-policy', ...custom.map(([name]) => name)];
  assert.deepEqual([...ours, 'content-type', 'cache-control'].sort(), names.sort());
  assert(StrictTransportSecurity.AccessControlMaxAgeSec >= 31_536_000);
  for (const behavior of behaviors) {
    assert.match(behavior.ResponseHeadersPolicyId.Ref, /^WebHeaders/);
  }
});

test('config.json is never kept by CloudFront, the other files are', () => {
  assert.deepEqual(
    distribution.CacheBehaviors.map(({ PathPattern, CachePolicyId }: any) => [PathPattern, CachePolicyId]),
    [['config.json', '4135ea2d-6df8-44a3-9df3-4b5a84be39ad']], // CachingDisabled
  );
  assert.equal(distribution.DefaultCacheBehavior.CachePolicyId, '658327ea-f89d-4fab-a63d-7e88639e58f6'); // CachingOptimized
});

test('the page may connect; with it, other pages only if they are named', () => {
  const origins = (of: typeof template) =>
    new Set(
      resources(of, 'AWS::Lambda::Function').map(([, { Properties }]) =>
        JSON.stringify(Properties.Environment.Variables.WEBCHAT_ALLOWED_ORIGINS),
      ),
    );
  const [own, ...more] = origins(template);
  assert.deepEqual(more, []);
  assert.match(own!, /^\{"Fn::Join":\["",\["https:\/\/",\{"Fn::GetAtt":\["WebDistribution\w+","DomainName"\]\}\]\]\}$/);
  const [both] = origins(synthesise({ web: 'true', allowedOrigins: 'https://a.example' }).template);
  assert.match(both!, /^\{"Fn::Join":\["",\["https:\/\/a\.example,https:\/\/",\{"Fn::GetAtt":\["WebDistribution\w+","DomainName"\]\}\]\]\}$/);
});

test('the outputs name the address, and what make deploy fills and clears', () => {
  template.hasOutput('Page', { Value: { 'Fn::Join': ['', ['https://', { 'Fn::GetAtt': [Match.anyValue(), 'DomainName'] }, '/']] } });
  template.hasOutput('PageBucket', { Value: { Ref: Match.stringLikeRegexp('^WebPage') } });
  template.hasOutput('PageDistribution', { Value: { Ref: Match.stringLikeRegexp('^WebDistribution') } });
  const settings = template.findOutputs('Settings')['Settings']!['Value'];
  assert.equal(JSON.parse(settings).web, 'true');
});

test('what the local page has, and only that, is in web/', () => {
  const served = [...source('local/src/page.rs').matchAll(/include_str!\("\.\.\/\.\.\/web\/([^"]+)"\)/g)].map(([, name]) => name!);
  assert.deepEqual(readdirSync(new URL('../../web', import.meta.url)).sort(), served.sort());
});
