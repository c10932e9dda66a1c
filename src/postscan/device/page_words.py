"""What the drawn pages say: made-up people, places and goods (price in EUR), and sentences to shuffle."""

from __future__ import annotations

PLACES = ("Marren", "Ulvik", "Tessin", "Corrib", "Halden", "Lorn", "Isar", "Vesle")
STREETS = ("Mill Lane", "Harbour Road", "Quarry Street", "Orchard Row", "Ferry Walk", "Chapel Rise")
PEOPLE = ("Ada Lindqvist", "Tomas Breuer", "Nora Whitfield", "Elias Kemp", "Ines Carrow", "Jonas Vale")
FIRMS = ("Halden & Vale", "Corrib Instruments", "The Marren Press", "Lorn Survey Office", "Ulvik Timber")
GOODS = (
    ("Document paper, A4, 80 g, box of five reams", 24.50),
    ("Lens cloth, pack of twelve", 7.80),
    ("Transport belt for sheet feeder", 64.00),
    ("Separation roller set", 38.25),
    ("Calibration target, grey and colour", 119.00),
    ("Archive boxes, acid free, pack of ten", 42.90),
    ("Carrier sheet for photographs", 15.60),
    ("Service visit, per hour", 86.00),
    ("Glass plate, flatbed, A3", 148.70),
    ("Dust cover, anthracite", 21.35),
)
SENTENCES = (
    "The pages of this bundle were fed in one go, and each of them was counted before it left the tray.",
    "Whoever reads them next week should find them where they were sent, under the name they were given.",
    "We have looked through the ledgers from spring to autumn and found two entries that want a second look.",
    "The first concerns the freight from the harbour, which was charged by weight, not by volume as agreed.",
    "The second is smaller, yet it has come up three years in a row and is best settled for good.",
    "Please keep the originals until the copies have been compared; after that they may go to the archive.",
    "A note in the margin is as good as a letter, so long as it can still be read on the scanned page.",
    "Our office is open on weekdays from eight to four, and on the first Saturday of every month.",
    "The survey of the northern shore took eleven days, two of them lost to fog and one to a broken tripod.",
    "All heights are given in metres above the old harbour mark, as on the sheets of the previous survey.",
    "The new sheet feeder takes sixty pages a minute and has not torn a single one since it was set up.",
    "If a page is missing, tell us its number and the day it was sent, and it will reach you by the evening.",
    "Colours were checked against the grey target in daylight; the reds may still look warm on screen.",
    "Nothing in this letter changes what was signed in March, save for the date of the last instalment.",
)
