"""Slips of the pen, and differences that mean another entity."""

import pytest

from tasks.extraction.folding import wording
from tasks.extraction.likeness import is_slip


@pytest.mark.parametrize(
    ("item", "span"),
    [
        ("Supreme Cuort of Brazil", "Supreme Court of Brazil"),
        ("Suprme Court of Brazil", "Supreme Court of Brazil"),
        ("Suppreme Court of Brazil", "Supreme Court of Brazil"),
        ("Suprame Court of Brazil", "Supreme Court of Brazil"),
        ("SupremeCourt of Brazil", "Supreme Court of Brazil"),
        ("Supreme Court o fBrazil", "Supreme Court of Brazil"),
        ("Supreme Court Brazil", "Supreme Court of Brazil"),
        ("Supreme Court of Brazil,", "Supreme Court of Brazil"),
        ("Levandowsky", "Lewandowski"),
        ("Nidia Correa Lima", "Nídia Corrêa Lima"),
        ("15 de maroç de 2018", "15 de março de 2018"),
        ("Decretp 3.788/2001", "Decreto 3.788/2001"),
        ("Lei 9717/1998", "Lei 9.717/1998"),
        ("Lex 9.717/1998", "Lei 9.717/1998"),
        ("$1000000", "$1,000,000"),
        ("4/8/2017", "04/08/2017"),
        ("2408/2001", "24/08/2001"),
        ("2x18", "2018"),
        ("20x18", "2018"),
        ("0012843-03.2015.8.07.001", "0012843-03.2015.8.07.0001"),
        ("24/80/2001", "24/08/2001"),
        ("on 24/08/201,", "on 24/08/2001"),
        ("01/082/016", "01/08/2016"),
        ("Lei 9.71l7/1998", "Lei 9.717/1998"),
        ("4 aTurma do TJ", "4a Turma do TJ"),
        ("AC O702 de São Paulo", "ACO 702 de São Paulo"),
        ("non-compliance", "noncompliance"),
        ("COVID-19", "COVID- 19"),
        ("MINISTRO D JUSTIÇA", "MINISTRO DA JUSTIÇA"),
    ],
)
def test_what_a_slip_can_do(item: str, span: str) -> None:
    assert is_slip(wording(item), wording(span))


@pytest.mark.parametrize(
    ("item", "span"),
    [
        ("Article 5", "Article 6"),
        ("Article 5", "Article 55"),
        ("Article IV", "Article VI"),
        ("Article II", "Article III"),
        ("Exhibit A to the Agreement", "Exhibit B to the Agreement"),
        ("Section 5(a) of the Securities Act", "Section 5(b) of the Securities Act"),
        ("$1,000", "$1,900"),
        ("$1,000,000", "$10,000,000"),
        ("$1.5 million", "$15 million"),
        ("$1.2 million", "$1.2 billion"),
        ("$1.5m of stock", "$15m of stock"),
        ("15 March 2018", "16 March 2018"),
        ("15 March 2018", "15 March 2017"),
        ("12/3/2018", "1/23/2018"),
        ("4/08/2001", "24/08/2001"),
        ("2008", "20/08"),
        ("42/08/2001", "24/08/2011"),
        ("99/08/2001", "09/08/2001"),
        ("15 March 201", "15 March 2018"),
        ("20/09/2001", "20/09/2010"),
        ("0012843-03.2015.8.07.0001", "0012844-03.2015.8.07.0001"),
        ("Rule 144A under the Act", "Rule 144 under the Act"),
        ("42 U.S.C. 2000e", "42 U.S.C. 2000"),
        ("Súmula 503 do STF", "Súmula 503 do STJ"),
        ("Acme Inc", "Acme LLC"),
        ("the Lessor and its heirs", "the Lessee and its heirs"),
        ("the employer of record", "the employee of record"),
        ("North Dakota Court of Appeals", "South Dakota Court of Appeals"),
        ("Northeastern University", "Northwestern University"),
        ("the insolvent Borrower entity", "the solvent Borrower entity"),
        ("Republic of Austria", "Republic of Australia"),
        ("Republic of Zambia today", "Republic of Gambia today"),
        ("shall compete with the Company", "shall not compete with the Company"),
        ("District Court for the Northern District", "District Court for the District"),
        ("最高裁判所第一小法廷", "最高裁判所第二小法廷"),
        ("대한민국 서울중앙지방법원", "대한민국 서울남부지방법원"),
    ],
)
def test_what_names_another_thing(item: str, span: str) -> None:
    assert not is_slip(wording(item), wording(span))
    assert not is_slip(wording(span), wording(item))


def test_an_article_may_be_wrong_and_an_acronym_may_not() -> None:
    assert is_slip(wording("banco dk brasil"), wording("Banco do Brasil"))
    assert not is_slip(wording("banco dk brasil"), wording("Banco DO Brasil"))
    assert not is_slip(wording("CJM Barroso Ferreira"), wording("Barroso Ferreira"))
