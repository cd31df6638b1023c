"""Words that decide whether two lessons can be the same (see claims.py), folded."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS = _words("""
a all also always an and any are as at be been being both but by can could do does each ensure even ever every
for from had has have here if in into is it it's its just make may might must need needs of on or other our
over own per please remember should so some such sure than that the their them then there these they this
those to very via was we were when where which while will with would you your
""")
"""Say little by themselves."""

NEGATIONS = _words("""
not no never none nor neither nothing without cannot dont avoid avoids avoiding refrain instead rather except
excluding unless wrong wrongly false falsely untrue incorrect incorrectly mistaken mistake error myth
não sem nunca nem nicht kein keine keinen nie ohne jamais ne pas sans sin
不 没 未 无 非 勿 别
""")
"""Negate what follows; words that end in "n't" do, too."""

FRONTED = _words("""
by from to into than over per minus before after through if when whenever unless until while where once since
because in for with at on during
""")
"""Say how words belong together. A clause that begins with one may stand before a sentence or behind it."""

_NUMBERS = """
zero 0, two 2, three 3, four 4, five 5, six 6, seven 7, eight 8, nine 9, ten 10, eleven 11, twelve 12,
thirteen 13, fourteen 14, fifteen 15, twenty 20, thirty 30, fifty 50, hundred 100, thousand 10^3,
million 10^6, billion 10^9, trillion 10^12, half 1/2, halves 1/2, twice *2, double *2, thrice *3, triple *3
"""
NUMBER_WORDS = {word: number for entry in _NUMBERS.split(",") for word, number in [entry.split()]}
"""{word: its number}; "one" is missing, which is no number in "the one that"."""

_UNITS = """
% percent percentage pct
bp bps basis-points
$ usd dollar dollars
€ eur euro euros
£ gbp
¥ jpy yen
brl reais
cent cents
km kilometre kilometres kilometer kilometers
cm centimetre centimetres centimeter centimeters
mm millimetre millimetres millimeter millimeters
metre metres meter meters
mile miles
foot feet
inch inches
yard yards
kg kilogram kilograms kilogramme kilogrammes
gram grams gramme grammes
mg milligram milligrams
tonne tonnes ton tons
pound pounds lb lbs
ounce ounces oz
litre litres liter liters
ml millilitre millilitres milliliter milliliters
gallon gallons
celsius centigrade
fahrenheit
kelvin
second seconds sec secs
minute minutes
hour hours hourly
day days daily
week weeks weekly
fortnight fortnights
month months monthly
quarter quarters quarterly
year years yearly annual annually annum
decade decades
century centuries
kwh
watt watts
joule joules
calorie calories kcal
bit bits
byte bytes
kb
mb
gb
degree degrees °
radian radians
‰ permille
"""
UNITS = {word: line.split()[0] for line in _UNITS.strip().splitlines() for word in line.split()}
"""{word: its unit}, wherever it stands."""

UNIT_SYMBOLS = _words("m s h g l t in ft min d y k b c f a v w j n bn mn yr yrs hr hrs mi yd km2 m2 kph mph")
"""Units only where a number stands before them."""

PREFIXES = ("un", "non", "in", "im", "ir", "dis", "de", "mis")
"""Make the opposite of a word."""

OPPOSITES = """
up down
before after
increase decrease
increase reduce
rise fall
more less
more fewer
above below
over under
greater less
greater smaller
greater lower
higher lower
upper lower
high low
larger smaller
large small
maximum minimum
maximize minimize
max min
most least
first last
add subtract
add deduct
add remove
plus minus
multiply divide
numerator denominator
include exclude
inclusive exclusive
gross net
debit credit
buy sell
buyer seller
borrower lender
asset liability
income expense
revenue expense
start end
begin end
opening closing
beginning ending
early late
earlier later
left right
row column
simple compound
true false
yes no
ceiling floor
even odd
positive negative
fixed variable
fixed floating
previous next
previous current
prior current
current next
input output
ascending descending
longest shortest
oldest newest
highest lowest
largest smallest
inside outside
keep drop
keep remove
open close
present future
nominal real
nominal effective
long short
prefix suffix
horizontal vertical
mean median
same different
allow forbid
accept reject
"""
"""Pairs; each of them in its plain form."""
