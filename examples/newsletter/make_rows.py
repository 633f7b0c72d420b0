"""Writes rows/newsletter.csv: 2,400 subscribers, the same ones each time.

The file is committed; run this again only to start over:  python3 make_rows.py
Names come with what breaks careless code: apostrophes, ampersands, quotes, commas, letters beyond ASCII.
"""

import csv
import datetime
import pathlib
import random
import unicodedata

ROWS = 2400

# Country, share of the subscribers, first names, last names.
COUNTRIES = [
    ("US", 26, "James Mary Robert Patricia Michael Jennifer David Linda Dwayne Aaliyah Keisha Tyler Brittany".split(),
     ["Smith", "Johnson", "Williams", "Garcia", "Miller", "Davis", "Washington", "Nguyen", "Ortiz-Bell", "De'Andre", "King, Jr."]),
    ("GB", 13, "Oliver Amelia George Isla Harry Ava Nigel Priya Gareth Siân Zoë".split(),
     ["Jones", "Taylor", "Brown", "Evans", "Fitz-Gerald", "Smythe", "Llewellyn", "Patel", "Khan", "Okafor"]),
    ("IE", 7, "Aoife Conor Niamh Seán Saoirse Pádraig Róisín Ciarán".split(),
     ["O'Brien", "O'Sullivan", "Murphy", "Ó Dálaigh", "Ní Bhriain", "D'Arcy", "Byrne", "MacCarthy"]),
    ("DE", 14, "Jürgen Anneliese Björn Heike Sören Käthe Uwe Lena Mehmet Elif".split(),
     ["Müller", "Schröder", "Weiß", "Köhler", "von der Heide", "Groß", "Yıldız", "Schmidt", "Lüdenscheidt"]),
    ("FR", 9, "Chloé Théo Léa François Anaïs Jérôme Maëlle Noël".split(),
     ["D'Aubigné", "Lefèvre", "L'Hôpital", "Garçon", "Dubois", "N'Diaye", "Peña-Roux", "Moreau"]),
    ("ES", 7, "Iñigo Begoña José María Nerea Joaquín Núria".split(),
     ["Muñoz", "Ibáñez", "García y Vega", "Peña", "Núñez", "Etxebarría", "López"]),
    ("PL", 5, "Łukasz Małgorzata Paweł Agnieszka Żaneta Michał".split(),
     ["Wiśniewski", "Wójcik", "Kowalczyk", "Dąbrowska", "Żak", "Zieliński"]),
    ("SE", 4, "Åsa Göran Märta Östen Linnea".split(), ["Ångström", "Öberg", "Sjöström", "Lindqvist", "Håkansson"]),
    ("TR", 3, "İbrahim Şule Çağla Gökhan Ayşe".split(), ["Yılmaz", "Çelik", "Şahin", "Öztürk", "Işık"]),
    ("JP", 5, ["陽菜", "蓮", "さくら", "大翔", "美咲"], ["佐藤", "鈴木", "高橋", "田中", "渡辺"]),
    ("GR", 3, ["Ελένη", "Γιώργος", "Μαρία", "Νίκος"], ["Παπαδόπουλος", "Οικονόμου", "Νικολαΐδης"]),
    ("IN", 4, "Ananya Rohan Lakshmi Arjun Meera".split(), ["Iyer", "Chaudhary", "D'Souza", "Krishnamurthy", "Rao"]),
]
PLANS = [("free", 62), ("plus", 27), ("family", 8), ("press", 3)]
DOMAINS = ["example.com", "example.org", "example.net", "mail.example.com", "post.example.org"]

# Companies that subscribed, and people who filled in the form their own way: (first name, last name, country).
SPECIAL = [
    ("O'Brien & Sons", "", "IE"),
    ("Müller & Söhne GmbH", "", "DE"),
    ('Robert "Bob"', "Tables", "US"),
    ('Dwayne "The Rock"', "Johnson", "US"),
    ("Smith, Wesson & Partners", "", "US"),
    ("Björk", "", "SE"),
    ("Anne-Marie", "d'Orléans-Bragança", "FR"),
    ("Null", "", "GB"),
    ("Jean-Luc", "Picard <captain>", "FR"),
    ("C:\\Users", "Default", "US"),
    ("{{first_name}}", "{{last_name}}", "GB"),
    ("100%", "Möglich", "DE"),
    ("Zoë 🦊", "Fox", "GB"),
    ("Ann\nMarie", "Two-Lines", "US"),
]


def mailbox(first, last, number):
    """An address that is plain ASCII and, by its number, nobody else's."""
    text = unicodedata.normalize("NFKD", f"{first}.{last}".lower().replace("ß", "ss").replace("ł", "l").replace("ø", "o"))
    plain = "".join(c for c in text if c.isascii() and (c.isalnum() or c in ".-")).strip(".-")
    return f"{plain or 'reader'}.{number}"


def main():
    chance = random.Random(20260101)
    number = 10_000
    rows = []
    for place in range(ROWS):
        number += chance.randint(1, 9)
        code, _, firsts, lasts = chance.choices(COUNTRIES, weights=[share for _, share, _, _ in COUNTRIES])[0]
        first, last = chance.choice(firsts), chance.choice(lasts)
        if place % 160 == 80 and place // 160 < len(SPECIAL):
            first, last, code = SPECIAL[place // 160]
        plan = chance.choices([name for name, _ in PLANS], weights=[share for _, share in PLANS])[0]
        signed_up = datetime.datetime(2021, 3, 1) + datetime.timedelta(minutes=place * 1080 + chance.randrange(1080))
        email = f"{mailbox(first, last, number)}@{chance.choice(DOMAINS)}"
        rows.append([number, email, first, last, code, plan, signed_up.strftime("%Y-%m-%dT%H:%M:00Z")])
    target = pathlib.Path(__file__).parent / "rows" / "newsletter.csv"
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "email_address", "first_name", "last_name", "country", "plan", "signed_up_at"])
        writer.writerows(rows)
    print(f"wrote {len(rows)} rows to {target.name}")


if __name__ == "__main__":
    main()
