"""What may be meant where nothing else is near, and what may not even then."""

import pytest

from tasks.extraction.folding import fold, wording
from tasks.extraction.nearness import is_near, is_near_in_order


@pytest.mark.parametrize(
    ("item", "span"),
    [
        ("União dos Tribnuais", "União dos Tribunais"),
        ("Especia1 Curadjoria", "Especial Curadoria"),
        ("NÍDlAC ORRÊA LIMA", "NÍDIA CORRÊA LIMA"),
        ("artigo 48S do Código", "artigo 485 do Código"),
        ("Decreto 3.8788/2001", "Decreto 3.788/2001"),
        ("MP n° 2.200-2/201", "MP n° 2.200-2/2001"),
        ("20/09q2010", "20/09/2010"),
        ("18/33/2011", "18/03/2011"),
        ("16/03/2108", "16/03/2018"),
        ("Portaria 02412008", "Portaria 20412008"),
        ("Acórdão 3999404", "Acórdão 999404"),
        ("ACO 1602 do STF", "ACO 1062 do STF"),
        ("Tribunal od Júri", "Tribunal do Júri"),
    ],
)
def test_what_a_bad_copy_may_be(item: str, span: str) -> None:
    assert is_near(wording(item), wording(span))


@pytest.mark.parametrize(
    ("item", "span"),
    [
        ("Article 5 of the Treaty", "Article 6 of the Treaty"),
        ("Article 5 of the Treaty", "Article 55 of the Treaty"),
        ("Section 10 of the Act", "Section 12 of the Act"),
        ("Article IV of it", "Article VI of it"),
        ("Exhibit A to the Agreement", "Exhibit B to the Agreement"),
        ("$1,000", "$1,900"),
        ("$1,000,000", "$10,000,000"),
        ("$1,500", "$1,50"),
        ("5.5% of revenue", "6.5% of revenue"),
        ("5.5% of revenue", "55% of revenue"),
        ("several thousand million dollars", "several thousand billion dollars"),
        ("15 March 2018", "16 March 2018"),
        ("15 March 2018", "15 March 2017"),
        ("24/08/2001", "24/08/2071"),
        ("4/08/2001", "24/08/2001"),
        ("Law 1.062 of 1998", "Law 1.072 of 1998"),
        ("0012843-03.2015.8.07.0001", "0012844-03.2015.8.07.0001"),
        ("1062", "1602"),
        ("Rule 144A under the Act", "Rule 144 under the Act"),
        ("42 U.S.C. 2000e", "42 U.S.C. 2000"),
        ("Súmula 503 do STF", "Súmula 503 do STJ"),
        ("Acme Inc", "Acme LLC"),
        ("the Lessor and its heirs", "the Lessee and its heirs"),
        ("Northern District of New York", "Southern District of New York"),
        ("Northeastern University", "Northwestern University"),
        ("Republic of Austria", "Republic of Australia"),
        ("Bank of Zambia", "Bank of Gambia"),
        ("the insolvent Borrower entity", "the solvent Borrower entity"),
        ("shall not compete with it", "shall compete with it"),
        ("最高裁判所第一小法廷", "最高裁判所第二小法廷"),
    ],
)
def test_what_is_another_even_if_it_is_alone(item: str, span: str) -> None:
    assert not is_near(wording(item), wording(span))
    assert not is_near(wording(span), wording(item))


@pytest.mark.parametrize(
    ("item", "span"),
    [
        ("Unxxo", "União"),
        ("Uhigo", "União"),
        ("PLEÁNRO", "PLENÁRIO"),
        ("Carta Manxna", "Carta Magna"),
        ("Maria Lmuíza de Garilac", "Maria Luíza de Garilac"),
        ("Distritto Fdderal 5", "Distrito Federal 5"),
    ],
)
def test_what_a_bad_copy_may_be_where_the_order_says_so(item: str, span: str) -> None:
    assert is_near_in_order(fold(item), fold(span))


@pytest.mark.parametrize(
    ("item", "span"),
    [
        ("Unxxx", "União"),
        ("Xnixo", "União"),
        ("Carla", "Carlos"),
        ("Marcia", "Marcos"),
        ("Daniel", "Danilo"),
        ("Nigeria", "Niger"),
        ("Chile", "China"),
        ("Laura", "Lauren"),
        ("Harris", "Harrison"),
        ("Austria", "Australia"),
        ("Iran", "Iraq"),
        ("Anna", "Alina"),
        ("Lessor", "Lessee"),
        ("Nine Million", "Nine Billion"),
        ("Southern Bank", "Northern Bank"),
        ("Midwestern", "Mideastern"),
        ("Article XXIII", "Article XXVII"),
        ("Exhibit A1234B", "Exhibit A1324B"),
        ("ACO 830/PR", "ADI 830/PR"),
        ("Article 155", "Article 165"),
        ("docket 20-1243", "docket 20-1234"),
        ("STF", "STJ"),
        ("Bank of Zambia", "Bank of Gambia"),
        ("State of Texas", "State Texas"),
        ("Tuesday", "Thursday"),
        ("January 5", "February 5"),
        ("Junho", "Julho"),
    ],
)
def test_what_is_another_even_where_the_order_says_so(item: str, span: str) -> None:
    assert not is_near_in_order(fold(item), fold(span))
    assert not is_near_in_order(fold(span), fold(item))
