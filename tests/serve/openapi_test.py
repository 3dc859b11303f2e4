# SPDX-License-Identifier: Apache-2.0
"""openapi_test.py - the description is that of the server: every route stands in it, and answers as it says"""
import json
import pathlib
import re

from harness import equal, test
from websocket_test import handshake

HOUR = 3600000
SOURCE = pathlib.Path(__file__).parent.parent.parent / 'tools' / 'server' / 'api.c'

# One request after the other, and what it must be answered with: each operation stands here.
ASKED = [
    ('GET', '/', None, 200), ('GET', '/help', None, 200), ('GET', '/page/{style.css}', None, 200),
    ('GET', '/page/{nothing}', None, 404), ('GET', '/hello', None, 200), ('GET', '/hello/keyed', None, 200),
    ('GET', '/healthz', None, 200), ('GET', '/readyz', None, 200), ('GET', '/metrics', None, 200),
    ('GET', '/openapi.json', None, 200),
    ('POST', '/api/process', {'key': 'described', 'kind': 'sleep', 'ms': HOUR}, 202),
    ('POST', '/api/process', {'key': 'described', 'kind': 'sleep', 'mode': 'only-if-missing'}, 200),
    ('POST', '/api/process', {'key': 'described', 'kind': 'sleep', 'mode': 'queue'}, 202),
    ('POST', '/api/process', {'key': 'described', 'kind': 'sleep', 'mode': 'fail'}, 409),
    ('POST', '/api/process', {'key': 'described', 'kind': 'sleep', 'mode': 'join', 'wait_ms': 1}, 202),
    ('POST', '/api/process', {'key': 'sum', 'kind': 'primes', 'below': 10, 'mode': 'join', 'wait_ms': 20000}, 200),
    ('POST', '/api/process', {'key': 'bad', 'kind': 'fail', 'mode': 'join', 'wait_ms': 20000}, 200),
    ('POST', '/api/process', {'kind': 'tea'}, 400),
    ('POST', '/api/batch', {'jobs': [{'key': 'described-2', 'kind': 'sleep', 'ms': HOUR}]}, 202),
    ('POST', '/api/batch', {'jobs': [{'key': 'described-2', 'kind': 'sleep'}, {'kind': 'sleep'}]}, 409),
    ('POST', '/api/batch', {'jobs': [{'key': 'described-2', 'kind': 'sleep', 'mode': 'fail'}], 'all_or_nothing': False}, 200),
    ('POST', '/api/batch', {}, 400),
    ('POST', '/api/process/lines', '{"kind": "sleep", "ms": 0}', 200), ('POST', '/api/process/lines', 'tea', 200),
    ('POST', '/api/digest', 'abc', 200),
    ('GET', '/api/status/{described}', None, 200), ('GET', '/api/status/{sum}', None, 200),
    ('GET', '/api/status/{bad}?wait_ms=1', None, 200), ('GET', '/api/status/{nobody}', None, 404),
    ('GET', '/api/status/{described}?wait_ms=x', None, 400),
    ('GET', '/api/events', None, 200), ('GET', '/api/events/{described}', None, 200), ('GET', '/api/events/{%}', None, 400),
    ('GET', '/api/fibers', None, 200), ('GET', '/api/stats', None, 200), ('GET', '/api/dump', None, 200),
    ('DELETE', '/api/cancel/{described}', None, 200), ('DELETE', '/api/cancel/{nobody}', None, 404),
    ('DELETE', '/api/cancel?prefix=described', None, 200), ('DELETE', '/api/cancel', None, 400),
    ('POST', '/api/send/{described}', 'hello', 202), ('POST', '/api/send/{}', 'hello', 400),
    ('POST', '/api/send/{described}', 'x' * 65537, 413),
    ('POST', '/api/send', 'hello', 200), ('POST', '/api/send', '\udc00', 400), ('GET', '/api/users', None, 200),
    ('GET', '/ws/{described}', None, 426),
]


def resolve(document, node):
    while isinstance(node, dict) and '$ref' in node:
        at = document
        for step in node['$ref'].removeprefix('#/').split('/'):
            at = at[step]
        node = at
    return node


TYPES = {'object': dict, 'array': list, 'string': str, 'boolean': bool, 'integer': int, 'number': (int, float), 'null': type(None)}


def fault(document, schema, value, where='$'):
    """Why the value is not of the schema, None if it is. A member that is not described is a fault, too."""
    schema = resolve(document, schema)
    if 'anyOf' in schema:
        faults = [fault(document, one, value, where) for one in schema['anyOf']]
        return None if None in faults else f'{where}: none of {faults}'
    kinds = schema['type'] if isinstance(schema['type'], list) else [schema['type']]
    if not any(isinstance(value, TYPES[kind]) for kind in kinds):
        return f'{where}: {value!r} is no {kinds}'
    if 'enum' in schema and value not in schema['enum']:
        return f'{where}: {value!r} is none of {schema["enum"]}'
    if 'pattern' in schema and not re.search(schema['pattern'], value):
        return f'{where}: {value!r} does not match'
    members = schema.get('properties')
    if isinstance(value, dict) and members is not None:
        missing = set(schema.get('required', [])) - set(value)
        unknown = set(value) - set(members)
        if missing or unknown:
            return f'{where}: missing {missing}, unknown {unknown}'
        faults = [fault(document, members[name], value[name], f'{where}.{name}') for name in value]
    elif isinstance(value, list):
        faults = [fault(document, schema['items'], one, f'{where}[]') for one in value]
    else:
        faults = []
    return next((f for f in faults if f), None)


def operations(document):
    return {(method.upper(), path) for path, item in document['paths'].items() for method in item if method != 'parameters'}


def described_path(path):
    """/api/status/{nap}?a=b is described as /api/status/{key}."""
    name = '{user}' if re.match('/(ws|api/send)/', path) else '{file}' if path.startswith('/page/') else '{key}'
    return re.sub(r'\{.*\}', name, path.split('?')[0])


@test
def no_route_is_missing_and_none_too_many(server):
    table = re.findall(r'\{ HTTP_(\w+), "[^"]*", "([^"]+)", \w+ \}', SOURCE.read_text(encoding='utf-8'))
    assert len(table) > 10, table
    routes = {(method, described_path(path + '{}' if len(path) > 1 and path.endswith('/') else path)) for method, path in table}
    equal(operations(server.get('/openapi.json').json()), routes)


@test
def each_operation_answers_as_described(server):
    document = server.get('/openapi.json').json()
    equal(document['openapi'], '3.1.0')
    equal({(method, described_path(path)) for method, path, _, _ in ASKED}, operations(document), 'asked and described')
    for method, path, body, status in ASKED:
        operation = document['paths'][described_path(path)][method.lower()]
        plain = path.replace('{', '').replace('}', '').encode()
        content = body.encode('utf-8', 'surrogatepass') if isinstance(body, str) else b'' if body is None else None
        if content is None:
            schema = operation['requestBody']['content']['application/json']['schema']
            equal(fault(document, schema, body) is None, status != 400, f'the request of {method} {path}')
            content = json.dumps(body).encode()
        with server.peer() as peer:
            peer.send(method.encode() + b' ' + plain + b' HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % len(content) + content)
            answer = peer.answer(head=status == 200 and path.startswith('/api/events'))  # of which there is no end
        equal(answer.status, status, f'{method} {path}: {answer}')
        check(document, operation, answer, f'{method} {path}')


def check(document, operation, answer, what):
    """The answer is one of those that are described."""
    assert str(answer.status) in operation['responses'], f'{what}: {answer.status} is not described'
    response = resolve(document, operation['responses'][str(answer.status)])
    kind = answer.headers['content-type'].split(';')[0]
    assert kind in response['content'], f'{what}: {kind} is not described'
    if kind.endswith('json'):
        equal(fault(document, response['content'][kind]['schema'], answer.json()), None, what)


@test
def methods_that_are_not_described_are_refused(server):
    document = server.get('/openapi.json').json()
    for path, item in document['paths'].items():
        plain = path.replace('{', '').replace('}', '')
        allowed = {method.upper() for method in item if method != 'parameters'}
        told = set(server.request('OPTIONS', plain).headers['allow'].split(', '))
        equal(told - {'OPTIONS', 'HEAD'}, allowed, path)
        if 'HEAD' in told:
            with server.peer() as peer:
                peer.send(f'HEAD {plain} HTTP/1.1\r\nHost: x\r\n\r\nGET {plain} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
                short, whole = peer.answer(head=True), peer.answer()
            equal((short.status, set(short.headers)), (whole.status, set(whole.headers)), path)
        for method in {'GET', 'POST', 'PUT', 'DELETE', 'PATCH'} - allowed:
            equal(server.request(method, plain).status, 405, f'{method} {path}')


@test
def a_websocket_is_described_as_it_begins(server):
    with server.peer() as peer:
        peer.send(handshake())
        assert str(peer.answer().status) in server.get('/openapi.json').json()['paths']['/ws/{user}']['get']['responses']
