"""Plays the receiver's record back and compares what it holds then with the rows:  python3 check_record.py RECORD ROWS

Fails if a member is missing, wrong or left over, if a row was sent that changed nothing, or if one idempotency key came
with two different bodies.
"""

import csv
import json
import sys

FIELDS = {"id": "id", "email": "email_address", "country": "country", "plan": "plan", "since": "signed_up_at"}


def expected(path):
    """The members that the rows ask for, by id."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["id"]: {**{to: row[column] for to, column in FIELDS.items()}, "name": {"first": row["first_name"], "last": row["last_name"]}}
        for row in rows
    }


def received(path):
    """What the receiver holds after the whole record: members, requests, rows sent, and those of them that changed nothing."""
    members, bodies, sent, idle = {}, {}, 0, 0
    with open(path, encoding="utf-8") as file:
        requests = [json.loads(line) for line in file]
    for request in requests:
        key = request["headers"]["idempotency-key"]
        what = (request["method"], request["url"], request["body"])
        if bodies.setdefault(key, what) != what:
            sys.exit(f"check: idempotency key {key} came with two different requests")
    # A retry carries the key of what it repeats, and an API that knows keys ignores it: so each key counts once.
    for method, url, body in bodies.values():
        if method == "DELETE":
            sent += 1
            idle += members.pop(url.rsplit("/", 1)[1], None) is None
            continue
        for member in json.loads(body)["members"]:
            sent += 1
            idle += members.get(member["id"]) == member
            members[member["id"]] = member
    return members, len(requests), sent, idle


def main():
    record, rows = sys.argv[1:]
    want = expected(rows)
    have, requests, sent, idle = received(record)
    for identity in sorted(want.keys() | have.keys()):
        if want.get(identity) != have.get(identity):
            sys.exit(
                f"check: member {identity} should be {want.get(identity)}, the receiver has {have.get(identity)}\n"
                "(where only one of .penstock and .receiver was deleted, delete the other too)"
            )
    if idle:
        sys.exit(f"check: {idle} of {sent} rows were sent although they changed nothing")
    print(f"check: the receiver has all {len(have):,} members, as in the rows; so far {sent:,} rows came in {requests:,} requests, none in vain")


if __name__ == "__main__":
    main()
